/* The store as its readers see it: one mirror of KEY_VIEW feeding a tree, and the source of bodies.
 * Also keeps the figures of .meta/status that live in etcd (queue depth, counters), refreshed in
 * the background only while somebody asks for them. */
#ifndef GPUTEL_VIEW_H
#define GPUTEL_VIEW_H

#include "etcd.h"
#include "figures.h"
#include "hosts.h"
#include "tree.h"

struct view;

/* Opens and starts following; returns before the first list is in. */
int view_open(struct view **ret, struct etcd *c, int64_t stale_after_ms, size_t cache_bytes,
	      struct err *e) must_check;
/* The same of these hosts only, which must outlive the view. */
int view_open_hosts(struct view **ret, struct etcd *c, int64_t stale_after_ms, size_t cache_bytes,
		    const struct hosts *hosts, struct err *e) must_check;
void view_close(struct view *v); /* after etcd_cancel; NULL is fine */
struct tree *view_tree(struct view *v);
/* Asks etcd for its newest revision, and which up to there was the last commit of telemetry by a
 * collector. What the tree has published up to the second is complete up to the first. */
int view_newest(struct view *v, int64_t *ret_newest, int64_t *ret_last_commit) must_check;
/* Waits until the first list is in, at most ms. */
bool view_wait_ready(struct view *v, int64_t ms);
/* The queue in figures: of now, for which it waits up to a second; while etcd is away, the last
 * that were read. False: none were. */
bool view_figures(struct view *v, struct figures *ret);

#endif
