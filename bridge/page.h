/* Pages: what {"data":[…],"count":N,"has_more":…,"next_cursor":…} and Link headers are made of. */
#ifndef GPUTEL_BRIDGE_PAGE_H
#define GPUTEL_BRIDGE_PAGE_H

#include "ask.h"
#include "cursor.h"

#define PAGE_BYTES ((size_t)64 << 20)

struct page {
	enum format format;
	int64_t limit; /* 0: none */
	struct strbuf out;
	int64_t n;
	bool more;
	bool resumed;         /* cursor was given: it is the place behind which to begin */
	struct cursor cursor; /* then of the last record that is on the page */
};

/* Takes limit and cursor from the request. False: the problem is in a. */
bool page_init(struct page *p, const struct request *q, enum format f, int64_t limit,
	       struct answer *a);
void page_release(struct page *p);

/* Whether a record is to go on the page: it lies behind the cursor, and there is room (else more is
 * set). The caller then adds its text to out. Only for listings in ascending order of their keys.
 */
bool page_takes(struct page *p, const struct key_of_record *key);
/* Whether all of that GPU was on earlier pages. */
bool page_is_past(const struct page *p, const char *host, const char *gpu);
/* Notes that the record is on the page; JSON: call it before its text is added. */
void page_note(struct page *p, const struct key_of_record *key);

/* The body and its headers; takes out over. */
void page_answer(struct page *p, const struct request *q, struct answer *a);

#endif
