/* The consumer group: which collectors live, which of them writes for which host, and which should.
 *
 * Placement is rendezvous hashing by host with bounded load: at most ceil(hosts / collectors) hosts
 * each. A living writer is never robbed: it lets go of a host itself, when its claims are finished.
 *
 * No host is taken from a dead writer before a recovery that looked at a revision at which it had
 * the host and had no session any more (the mirrors of sessions and of writers may be ahead of one
 * another, so neither decides alone).
 *
 * Not thread-safe; no I/O. */
#ifndef GPUTEL_GROUP_H
#define GPUTEL_GROUP_H

#include "roster.h"

struct etcd_kv;

struct group {
	struct roster *hosts;
	const char *id; /* our own */
	char **members; /* live consumers, sorted */
	size_t n_members;
	bool members_listed, writers_listed;
	bool want_recovery;          /* a consumer is gone whose claims may not be back yet */
	struct map alive;            /* ids that had a session at the last recovery */
	int64_t recovery_listed_rev; /* at this revision; 0: there was none yet */
};

void group_init(struct group *g, struct roster *hosts, const char *id);
void group_release(struct group *g);

/* What the mirror of /consumers/ tells. */
void group_members_begin(struct group *g);
void group_member_put(struct group *g, struct slice key);
void group_members_end(struct group *g);
void group_member_delete(struct group *g, struct slice key);

/* What the mirror of /telemetry/writers/ tells. */
void group_writers_begin(struct group *g);
void group_writer_set(struct group *g, const struct etcd_kv *kv, bool deleted);
void group_writers_end(struct group *g);

static inline bool group_is_listed(const struct group *g)
{
	return g->members_listed && g->writers_listed;
}

bool group_is_member(const struct group *g, const char *id);
/* We are the one that acts where one acts for all. */
bool group_is_first(const struct group *g);

/* Gives every host a target. Hosts stay with their living writer as long as it has room, so that a
 * newcomer moves no more of them than it takes itself; the others go by weight. */
void group_place(struct group *g);
bool group_is_target(const struct group *g, const struct host *h);
bool group_is_writer(const struct group *g, const struct host *h);
/* It should be elsewhere, and whoever should have it is there. */
bool group_wants_away(const struct group *g, const struct host *h);

/* Nobody has it (or this very session, by a transaction that was answered late), or its writer is
 * dead and all that it had claimed is back in the queue; where only a recovery can say so, one is
 * wanted from now on. */
bool group_may_take(struct group *g, const struct host *h);
/* Takes over what a recovery has found out, and rec->alive with it. */
void group_note_recovery(struct group *g, struct recovered *rec);

#endif
