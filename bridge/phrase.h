/* What rows of one series and attribution have in common as text, put together once: it is most of
 * a row, and to render it again for each would take most of an answer's time.
 *
 *	head, time, middle, value, tail
 *
 * A table of fixed size, in which the newest displaces whoever has its place. A phrase is found by
 * where its series lies and then compared by content, so that memory which was given back and used
 * again deceives nobody. */
#ifndef GPUTEL_BRIDGE_PHRASE_H
#define GPUTEL_BRIDGE_PHRASE_H

#include "row_record.h"
#include "strbuf.h"

#define PHRASE_BITS  10 /* 2^PHRASE_BITS places */
#define PHRASE_PARTS 5
#define PHRASE_MAX   ((size_t)4 << 20)

struct phrase {
	const struct identity *id;
	struct slice parts[PHRASE_PARTS]; /* what it was made of, besides; in key */
	struct strbuf key;
	struct strbuf text; /* head, middle and tail */
	size_t head, middle;
	void *line; /* the caller's, at first NULL */
};

struct phrases {
	/* Puts the parts into p->text, and says how long head and middle are. */
	void (*render)(struct phrase *p, const struct record *r);
	struct phrase *slots[1 << PHRASE_BITS];
};

void phrases_release(struct phrases *all);
void phrases_forget_lines(struct phrases *all);

/* The phrase of a record that is not wide; lives until the next call. */
struct phrase *phrase_of(struct phrases *all, const struct record *r);
void phrase_print(const struct phrase *p, struct slice time, struct slice value,
		  struct strbuf *out);

#endif
