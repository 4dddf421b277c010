/* Label sets in canonical text: k="v",k2="v2" sorted by name, values escaped as in Prometheus text
 * (\\ \" \n), no empty values. labels_raw of a row is the same grammar in any order. */
#ifndef GPUTEL_LABELS_H
#define GPUTEL_LABELS_H

#include "strbuf.h"

#define LABELS_MAX   128         /* in a set */
#define LABELS_BYTES (64 * 1024) /* of its text */

struct label {
	struct slice name;  /* [A-Za-z_][A-Za-z0-9_]* */
	struct slice value; /* still escaped */
};

/* Splits text (canonical or raw, with or without surrounding braces, blanks around commas allowed)
 * into at most LABELS_MAX labels that borrow from it. Returns their number, or -EINVAL with what is
 * wrong and where in e. */
int labels_split(struct slice text, struct label ret[LABELS_MAX], struct err *e) must_check;

/* Sorts by name and appends the canonical text. Of equal names the first counts. */
void labels_join(struct strbuf *out, struct label *labels, int n);

/* What distinguishes a from base: labels of a that base lacks or has otherwise, and labels of base
 * that a lacks, as name="". Both canonical. */
void labels_difference(struct strbuf *out, struct slice a, struct slice base);
/* What a and b have in common, canonical. */
void labels_common(struct strbuf *out, struct slice a, struct slice b);
/* Appends name="value", behind a comma where out is not empty; value is plain text. */
void labels_add(struct strbuf *out, const char *name, struct slice value);
/* Appends the value of a label without its escapes. */
void labels_unescape(struct strbuf *out, struct slice value);
/* The unescaped value of name; false if it is not there. */
bool labels_get(struct slice text, const char *name, struct strbuf *ret_value);

#endif
