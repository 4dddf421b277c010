/* What the parts of the bridge share: one of each, made by main.c, there as long as any request. */
#ifndef GPUTEL_BRIDGE_GATEWAY_H
#define GPUTEL_BRIDGE_GATEWAY_H

#include "conf.h"
#include "etcd.h"
#include "tree.h"
#include "view.h"

struct gateway {
	const struct conf *conf;
	struct etcd *etcd;
	struct view *view;
	struct tree *tree;
	struct pool *pool;
	struct tokens *tokens;
	struct limiter *limiter;
	struct proxies *proxies;
	struct origins *origins;
	struct conns *conns;
	struct feed *feed;
	struct ingest *ingest;
	struct ws *ws; /* NULL: WS_ENABLED=false */
};

#endif
