/* What one subscriber has subscribed to, by id. No lock of its own. */
#ifndef GPUTEL_BRIDGE_SUBSCRIPTIONS_H
#define GPUTEL_BRIDGE_SUBSCRIPTIONS_H

#include "feed.h"
#include "tail.h"

#define SUBSCRIPTIONS_MAX   64
#define SUBSCRIPTION_ID_MAX 64

struct subscription {
	char id[SUBSCRIPTION_ID_MAX + 1];
	uint64_t number; /* never given twice */
	struct filter filter;
	int64_t since;     /* rows after it are its own */
	struct tail *tail; /* a file that is followed; filter is not used then */
};

struct subscriptions {
	struct subscription *list;
	size_t n, n_tails;
	uint64_t numbers; /* ever */
	/* Kept for what is asked of every event: */
	struct selector *selector; /* of all; NULL: of none */
	int64_t all_since;         /* the greatest since: above it selector holds */
};

void subscriptions_init(struct subscriptions *l);
void subscriptions_release(struct subscriptions *l);

/* NULL: none. */
const struct subscription *subscriptions_find(const struct subscriptions *l, const char *id);
/* x is taken over. -E2BIG: SUBSCRIPTIONS_MAX. Its id is not there yet. */
int subscriptions_add(struct subscriptions *l, struct subscription *x, struct err *e) must_check;
void subscriptions_remove(struct subscriptions *l, const struct subscription *x);
/* To be called after changes. */
void subscriptions_select(struct subscriptions *l, struct feed *f, struct principal *who);

/* What they want of the commit of that revision, as a reference. NULL: nothing. */
struct selector *subscriptions_at(const struct subscriptions *l, struct feed *f,
				  struct principal *who, int64_t revision);
/* Up to where that is the same for all after revision at. */
int64_t subscriptions_same_until(const struct subscriptions *l, int64_t at, int64_t end);

#endif
