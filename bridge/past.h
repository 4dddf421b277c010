/* A stretch of revisions that is read from the store for one subscriber: the rows that a selector
 * wants, commit by commit, as frames. Rows that others have been given are left out, so that a row
 * which matches several subscriptions is given out once.
 *
 * One thread at a time. */
#ifndef GPUTEL_BRIDGE_PAST_H
#define GPUTEL_BRIDGE_PAST_H

#include "extents.h"

struct past {
	uint64_t of; /* the subscription's number; 0: of all */
	struct selector *selector;
	/* Other subscriptions: what they want of rows after their since was given out. */
	struct others {
		uint64_t number;
		struct selector *selector;
		int64_t since;
	} * had;
	size_t n_had;
	int64_t after, upto;
	int64_t stretch; /* so many revisions are listed at a time; 0: all */
	bool listed;     /* extents hold (after, listed_upto] */
	int64_t listed_upto;
	struct extents extents;
	bool cancelled; /* under the subscriber's lock */
	struct past *next;
};

/* Of (after, upto]; selector is taken over. */
struct past *past_new(struct selector *selector, int64_t after, int64_t upto);
void past_free(struct past *p);
void past_leave_out(struct past *p, uint64_t number, struct selector *selector, int64_t since);
bool past_leaves_out(const struct past *p, uint64_t number);

/* 1: the next frames (*ret_n may be 0), as event_frames; 0: it is over; or an error: the same can
 * be tried again. May wait. */
int past_next(struct past *p, struct tree *t, struct frame ***ret, size_t *ret_n) must_check;

#endif
