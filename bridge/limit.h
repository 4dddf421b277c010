/* GATEWAY_RATE_LIMIT: a token bucket per client, by token name or address (IPv6: its /64). So many
 * clients are remembered; who was not seen for longest is forgotten first. Thread-safe. */
#ifndef GPUTEL_BRIDGE_LIMIT_H
#define GPUTEL_BRIDGE_LIMIT_H

#include "peer.h"
#include "tokens.h"

struct limiter;

struct limiter *limiter_new(int64_t rate, int64_t burst); /* rate 0: no limit */
void limiter_set(struct limiter *l, int64_t rate, int64_t burst);
void limiter_free(struct limiter *l); /* NULL is fine */

struct limit_state {
	int64_t rate, burst; /* 0: no limit */
	int64_t left;        /* requests that may follow at once */
	int64_t full_s;      /* seconds until all burst may follow */
	int64_t retry_s;     /* where refused: until one may follow */
};

/* Takes one request of a client. False: too many. who NULL: by address. */
bool limiter_take(struct limiter *l, const struct peer *p, const struct principal *who,
		  struct limit_state *ret);

/* What was granted does not count after all. */
void limiter_give_back(struct limiter *l, const struct peer *p, const struct principal *who);

#endif
