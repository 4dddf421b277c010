/* Records as text: JSON objects, CSV, NDJSON, or columns (one JSON line a series, its times as
 * epoch seconds and its values in the same order; a series with very many rows goes on in another
 * line). Values are printed by common/render, never through a double. */
#ifndef GPUTEL_BRIDGE_PRINTER_H
#define GPUTEL_BRIDGE_PRINTER_H

#include "ask.h"
#include "row_record.h"
#include "wide.h"

struct printer;

/* columns: of wide records, else NULL; borrowed. */
struct printer *printer_new(enum format f, const struct columns *columns);
void printer_free(struct printer *w); /* NULL is fine */

/* The heads of CSV files; nothing for other formats. */
void printer_begin(struct printer *w, struct strbuf *out);
/* JSON: an object, without what is between them. */
void printer_add(struct printer *w, const struct record *r, struct strbuf *out);
void printer_end(struct printer *w, struct strbuf *out); /* what columns hold back */

#endif
