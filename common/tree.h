/* The tree of DESIGN §5: what the mount shows as files and the bridge as REST.
 *
 * The data's way: view.c (etcd's watch) → tree → { fs/, bridge/ }. The tree knows neither etcd nor
 * FUSE. What it holds per GPU is its identity, the latest row of each series, and per segment a
 * small record of each chunk (positions, byte counts, times); rows are fetched when somebody reads
 * them, through tree_source, and kept as rendered text in a cache of bounded size. Nodes exist only
 * while somebody holds them, so memory follows what is looked at.
 *
 * Identity of nodes: ino is a 63-bit keyed hash of path and incarnation (of the GPU's identity or
 * of the segment; 0 for what has none); root is 1. It is st_ino, FUSE's nodeid and readdir's
 * cookie; folders list in its order, so a listing is stable while entries come and go, on every
 * mount and over restarts. Two live paths that collide: the later one in creation order probes
 * onward.
 *
 * Laws that are kept here: a row file only grows, by whole rows, in order of position, or vanishes;
 * its size is the sum of csv_bytes of its chunks from position 0 without a gap (chunks after a gap
 * are not shown until the gap is filled) plus the header line; a merge changes nothing visible.
 * Latest is the greatest event time, between equals the later position; rows further ahead than
 * CHUNK_AHEAD_NS count only while there is no other.
 *
 * .at/<RFC 3339>/<host>/<gpu>: as it was then; found by name only. Looking there may wait for the
 * source, also where the functions below say nothing of it.
 *
 * Locks: one reader-writer lock inside; no function holds it while it waits for the source. Every
 * function may be called from any thread. Callbacks of tree_watch run on the feeding thread without
 * the lock. */
#ifndef GPUTEL_TREE_H
#define GPUTEL_TREE_H

#include "chunk.h"
#include "identity.h"
#include "keys.h"

struct tree;
struct node; /* one name; reference-counted */

/* Where bodies of chunks come from. */
struct tree_source {
	/* The data key's value (body false) or the body key's of one chunk, appended to ret.
	 * -ENOENT: gone (merged or dropped meanwhile); -ETIMEDOUT and others: not to be had now. */
	int (*fetch)(const struct data_key *key, bool body, struct strbuf *ret, void *arg);
	void *arg;
};

struct tree_conf {
	int64_t stale_after_ms;
	size_t cache_bytes;
	struct tree_source source;
	/* Appends the k=v lines of .meta/status that only the process knows (etcd=…,
	 * queue_depth=…), called without any lock. fresh: its content is about to be read, it may
	 * wait a little for figures of now; else (attributes) it must not wait. May be NULL. */
	void (*status)(struct strbuf *out, bool fresh, void *arg);
	void *status_arg;
};

struct tree *tree_new(const struct tree_conf *conf);
/* Other limits, from any thread. What was told of files that show states holds for as long as it
 * was told (attrs.until_ns): not for a mount, whose kernel remembers that. */
void tree_set_cache(struct tree *t, size_t bytes);
void tree_set_stale_after(struct tree *t, int64_t ms);
void tree_free(struct tree *t); /* all nodes released; NULL is fine */

/* ---- feeding: one thread at a time ---------------------------------------------------------- */

/* A fresh list begins: what is not put again before tree_list_end is gone. */
void tree_list_begin(struct tree *t);
/* What is put, dropped and listed between two tree_commit (or up to tree_list_end) becomes visible
 * in one step. identity is taken over. */
void tree_put_identity(struct tree *t, struct identity *id, int64_t create_rev, int64_t mod_rev);
void tree_drop_identity(struct tree *t, struct slice host, struct slice gpu); /* encoded names */
/* commit revision of a chunk without a commit table: create_rev. inline_value: the value it came
 * from, kept in the cache where it holds rows. */
void tree_put_chunk(struct tree *t, const struct data_key *key, const struct chunk *c,
		    int64_t create_rev, struct slice inline_value);
void tree_drop_chunk(struct tree *t, const struct data_key *key);
void tree_set_segment_length(struct tree *t, int64_t segment_ns);
void tree_list_end(struct tree *t, int64_t revision);
void tree_commit(struct tree *t, int64_t revision);

/* What is held can only be mended by listing again: a gap in positions stands since more than a
 * second (a watch event was lost; gaps that a list itself had do not count). */
bool tree_has_gap(struct tree *t);

/* A segment went that held the latest of a series of which older segments remain: it is looked up
 * in their headers, and put as what is fed is. Finding waits for the source and may be done by any
 * thread; -ENOENT, -EIO, -E2BIG: not now, or not so. */
struct latest_found;
bool tree_seeks_latest(struct tree *t);
int tree_find_latest(struct tree *t, struct latest_found **ret) must_check;
void tree_put_latest(struct tree *t, const struct latest_found *f); /* feeding */
void tree_latest_free(struct latest_found *f);                      /* NULL is fine */

/* ---- nodes ---------------------------------------------------------------------------------- */

enum node_type { NODE_DIR, NODE_FILE, NODE_LINK };

/* How a file's bytes come about, which decides how it may be cached. */
enum node_content {
	CONTENT_NONE,     /* folders, links */
	CONTENT_SNAPSHOT, /* rendered whole: values, latest.*, info.json, .meta */
	CONTENT_ROWS,     /* a row file: grows by appending */
	CONTENT_STREAM,   /* a GPU's rows from now on: query_extents. Of the mount only */
	CONTENT_WAIT,     /* a read waits for the revision that is its name; likewise */
};

struct attr {
	uint64_t ino;
	enum node_type type;
	enum node_content content;
	bool live;    /* rows: may still grow soon (grew within 10 minutes, or not over) */
	bool dated;   /* rows: known to have another mtime, in whole seconds, than ever before */
	int64_t size; /* exact */
	int64_t mtime_ns; /* greatest event time in it; folders: of their newest entry's */
	int64_t ctime_ns; /* stored time of the newest commit in it */
	int64_t revision; /* of the newest commit in it */
	int64_t until_ns; /* wall clock: when content that depends on it (state, *.prom,
			   * gpus.json) changes by itself; INT64_MAX: only by commits */
	int64_t keep_ms;  /* so long it stays as it is, whatever comes; 0: not known */
	uint64_t incarnation;
	uint32_t nlink;
};

struct node *tree_root(struct tree *t); /* a new reference */
struct node *node_ref(struct node *n);
void node_unref(struct node *n); /* NULL is fine */
uint64_t node_ino(const struct node *n);
enum node_content node_content(const struct node *n);
/* Its way from the root, without links: "<host>/<gpu>/stat"; "" is the root. Lives with the node.
 */
const char *node_path(const struct node *n);

/* Until the first list is in, every name but .meta and what is in it answers -EIO. */

/* -ENOENT, -ENOTDIR, -ENAMETOOLONG, -EIO. *ret is a new reference. */
int tree_lookup(struct tree *t, struct node *dir, const char *name, struct node **ret) must_check;
/* A path as in URLs and shells: components separated by '/', "" is the root; links are followed
 * where follow says so (at most 8). */
int tree_resolve(struct tree *t, const char *path, bool follow, struct node **ret) must_check;
/* -ESTALE: the thing behind the node has vanished. */
int tree_attr(struct tree *t, struct node *n, struct attr *ret) must_check;

/* Calls fn for each entry whose ino is greater than after, in order of ino, until it returns
 * non-zero (passed on). fn runs under the lock: it must not call the tree. node is borrowed. */
struct tree_entry {
	const char *name;
	struct attr attr;
};
int tree_list(struct tree *t, struct node *dir, uint64_t after,
	      int (*fn)(const struct tree_entry *e, void *arg), void *arg) must_check;

int tree_readlink(struct tree *t, struct node *n, struct strbuf *ret) must_check;

/* The whole content of a CONTENT_SNAPSHOT file, and the attributes that belong to exactly these
 * bytes (may be NULL). -ESTALE as above. */
int tree_snapshot(struct tree *t, struct node *n, struct strbuf *ret,
		  struct attr *ret_attr) must_check;

/* Up to size bytes of a row file from offset on, appended to ret; fewer only at the end of the
 * file. -ESTALE: dropped; -EIO: rows not to be had (etcd away, checksum). */
int tree_read_rows(struct tree *t, struct node *n, int64_t offset, size_t size,
		   struct strbuf *ret) must_check;

/* The unit of a metric's value; a literal. -ENODATA: not a metric, or its unit is not known. */
int tree_unit(struct tree *t, struct node *n, const char **ret) must_check;

int64_t tree_revision(struct tree *t);
/* Counters for .meta/status and /metrics. */
struct tree_stats {
	uint64_t hosts, gpus, series, segments, chunks, rows, nodes, cache_bytes, cache_hits,
		cache_misses;
};
void tree_stats(struct tree *t, struct tree_stats *ret);
/* Sets what /metrics shows of it: a hook of stats.h. */
void tree_report(void *tree);

/* ---- changes -------------------------------------------------------------------------------- */

/* What one commit did to GPUs, told after it is visible: for inotify and WebSockets. */
enum change_kind {
	CHANGE_HOST_ADDED,
	CHANGE_HOST_REMOVED,
	CHANGE_GPU_ADDED,
	CHANGE_GPU_REMOVED,
	CHANGE_GPU,
	CHANGE_SEGMENT_ADDED,
	CHANGE_SEGMENT_REMOVED,
	CHANGE_SEGMENT_GREW,
	CHANGE_SERIES_ADDED,
	CHANGE_LATEST,
	CHANGE_SERIES_REMOVED
};
struct change {
	enum change_kind kind;
	const char *host, *gpu; /* encoded; CHANGE_HOST_*: no gpu */
	int64_t segment_ns;     /* CHANGE_SEGMENT_* */
	const char *series;     /* CHANGE_SERIES_*, CHANGE_LATEST: encoded file name */
	bool same_value;        /* CHANGE_LATEST: its text is what it was */
};
/* At most TREE_WATCHERS, before feeding starts; a commit that changed nothing is told with n = 0,
 * the first list too (nothing was seen before it). CHANGE_GPU: what its identity says has changed.
 * CHANGE_GPU_ADDED and _REMOVED stand for all in the folder; where an identity is replaced by one
 * of another incarnation both come. A host comes with its first GPU and goes with its last. Strings
 * live until fn returns. */
#define TREE_WATCHERS 4
void tree_watch(struct tree *t,
		void (*fn)(int64_t revision, const struct change *c, size_t n, void *arg),
		void *arg);

#endif
