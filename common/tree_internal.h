/* Inside of the tree; only common/tree*.c and common/query*.c include it.
 *
 * tree.c         operations: staged, applied to a model, published
 * tree_model.c   the model: hosts → gpus → { series, segments → chunk records }
 * tree_series.c, tree_segments.c, tree_facets.c
 * tree_publish.c what readers see of it, and what changed
 * tree_kinds.c   what a path can be: a table
 * tree_nodes.c   nodes, look-up, listing
 * tree_attrs.c   attributes of nodes
 * tree_files.c   contents of files that are rendered whole, of one GPU
 * tree_fleet.c   … of many, and .meta
 * tree_rows.c    contents of row files
 * tree_past.c    GPUs as they were
 * tree_chunks.c  chunks fetched and decoded
 * tree_latest.c  latest rows found again after their segment went
 * query*.c       decoded rows (query.h)
 *
 * Feeding works on a model that nobody reads (a list) or under the write lock (a commit); both end
 * in publishing, which derives from the raw records what readers see (struct segment: shown, bytes;
 * the listed flags), compares it with what they saw, and writes down the differences. Only the
 * feeding thread changes a model, so it reads without the lock.
 *
 * Nodes hold a path, no pointers: each use finds the way from the root again (a few hash look-ups)
 * and compares the incarnation, which is how a vanished thing becomes -ESTALE.
 *
 * Lock order: tree.lock, then one of node_lock, a cache slot's lock, the text cache's, that of the
 * past. */
#ifndef GPUTEL_TREE_INTERNAL_H
#define GPUTEL_TREE_INTERNAL_H

#include "clock.h"
#include "render.h"
#include "text_cache.h"
#include "tree.h"

#include <pthread.h>

/* ---- model ----------------------------------------------------------------------------------- */

/* What is kept of a chunk; records of a segment lie in an array sorted by first_seq, the longer
 * first. */
struct chunk_rec {
	uint8_t id[TEXT_ID_LEN]; /* the ULID's 128 bits */
	int64_t key_ns;          /* of its key */
	int64_t first_seq, min_ns, max_ns, stored_ns;
	int64_t revision; /* newest commit in it */
	uint32_t rows : 28;
	uint32_t sane : 1;   /* has rows that are not ahead */
	uint32_t waits : 1;  /* has series that the identity does not name yet: not shown */
	uint32_t merged : 1; /* its header tells its commits */
	uint32_t alone : 1;  /* it came by one commit */
	uint32_t csv_bytes;
};

struct segment {
	int64_t start_ns;
	uint64_t incarnation, identity;
	struct chunk_rec *recs;
	uint32_t n, cap;
	/* As published. bytes counts the rows from position 0 without a gap, no header line. */
	bool listed, sane, dirty;
	bool gap_known; /* its gap was in a list, or chunks were deleted: no list would fill it */
	bool dropped;   /* a chunk, since it was published */
	bool dated;     /* as in struct attr */
	struct mono gap_since; /* 0: no gap */
	int64_t bytes, rows, max_ns, stored_ns, revision;
	int64_t high; /* most bytes ever shown; it is not listed while it has fewer */
};

/* Who used the GPU: interned per GPU, one entry for many series. */
struct holder {
	uint32_t refs;
	struct attribution a; /* slices point behind the struct */
	char mem[];
};

struct latest {
	int64_t time_ns, seq, segment_ns, stored_ns, revision;
	struct holder *holder; /* NULL: there is none */
	union {
		char text[24]; /* a value of at most that many bytes */
		char *heap;
	};
	uint8_t digits, len;
};

struct series_state {
	uint32_t told; /* hash of the value that readers know */
	struct latest sane;
	struct latest *ahead; /* mostly NULL */
	char *file;           /* encoded name where that differs from the identity's */
	bool listed, dirty;
};

/* An identity that readers may keep after the lock is gone. */
struct ident {
	int refs; /* atomic */
	struct identity *id;
};

struct counts {
	uint64_t series, segments, chunks, rows;
};

struct gpu {
	struct host *host;
	char *name; /* encoded */
	struct ident *ident;
	int64_t ident_rev;
	uint64_t series_of; /* incarnation of the identity that numbers series */
	int64_t series_rev; /* newest create revision of a chunk in it */
	struct series_state *series;
	uint32_t n_series;
	uint32_t *order;           /* the identity's series by file name */
	struct segment **segments; /* by start, then incarnation */
	uint32_t n_segments, cap_segments;
	struct holder **holders;
	uint32_t n_holders;
	char *uuid_name; /* encoded; NULL: none */
	struct gpu *uuid_next;
	char **filed; /* paths in the model's facets that lead to it */
	uint32_t n_filed;
	struct gpu *dirty_next;
	int64_t last_ns, stored_ns, revision; /* published: newest latest, newest commit */
	uint64_t listed_as;                   /* incarnation that readers know */
	struct counts counted;
	int64_t lost_rev; /* of the commit that last took something away */
	bool listed, dirty, changed;
	bool seeks; /* a latest went with its segment that older ones may have */
};

struct host {
	char *name; /* encoded */
	struct map gpus;
	uint32_t listed;     /* GPUs */
	int64_t changed_rev; /* of the commit in which one came or went */
	bool told;           /* readers know it */
	struct host *gone_next;
};

/* A folder of GPUs that have something in common, in folders of folders: "model"/<model>,
 * "pod"/<namespace>/<pod>. */
struct facet {
	struct map below;   /* name → facet */
	struct map members; /* "host:gpu" → gpu */
};
#define FACET_MODEL "model"
#define FACET_POD   "pod"

struct model {
	struct map hosts;
	struct map uuids; /* encoded uuid → first gpu of a list */
	struct facet facets;
	struct gpu *dirty;
	int64_t last_ns;    /* newest of all GPUs' */
	int64_t stored_ns;  /* newest commit ever seen */
	int64_t revision;   /* being published */
	int64_t newest_rev; /* of what is shown: the same in every mount of the same data */
	uint32_t gaps;      /* segments with a gap_since */
	uint32_t seeking;   /* GPUs that do */
	bool listing;       /* gaps found now are not worth another list */
	uint64_t n_gpus;    /* listed */
	struct counts counts;
};

/* Differences between what readers saw and what they will see. */
struct changes {
	struct change *list;
	size_t n, cap;
	bool off;         /* nobody is told: the first list */
	bool within_new;  /* the folder itself is being told */
	struct gpu *gone; /* by dirty_next: freed once they are told */
	struct host *gone_hosts;
};

struct model *model_new(void);
void model_free(struct model *m);

struct gpu *model_gpu(const struct model *m, struct slice host, struct slice gpu);
void model_put_identity(struct model *m, struct identity *id, int64_t mod_rev);
void model_drop_identity(struct model *m, struct slice host, struct slice gpu);
void model_put_chunk(struct model *m, const struct data_key *key, const struct chunk *c,
		     int64_t create_rev);
void model_drop_chunk(struct model *m, const struct data_key *key);
/* Takes over from old what readers saw there, and notes in ch what of it is gone. */
void model_inherit(struct model *m, const struct model *old, struct changes *ch);
/* Makes visible what was put and dropped since the last time. */
void model_publish(struct model *m, struct changes *ch);
bool model_has_gap(const struct model *m);
uint32_t model_hosts(const struct model *m); /* listed */

void changes_release(struct changes *ch);

void gpu_free(struct gpu *g);
void host_free(struct host *h);
void gpu_mark(struct model *m, struct gpu *g); /* to be published */
void gpu_seek_latest(struct model *m, struct gpu *g);
void gpu_stop_seeking(struct model *m, struct gpu *g);
/* tree_latest.c */
void latest_put(struct model *m, const struct latest_found *f);

/* ---- series ---- */
bool latest_is_set(const struct latest *l);
void gpu_forget_latest(struct gpu *g, struct latest *l);
void gpu_offer_latest(struct gpu *g, const struct chunk *c, const struct chunk_series *cs,
		      int64_t create_rev);
/* Of a GPU that nothing is offered to. */
void gpu_put_latest(struct gpu *g, uint32_t series, struct stamp time, int64_t seq,
		    struct slice value, const struct attribution *a, int64_t revision);
bool gpu_counts_series(struct gpu *g, uint64_t identity, int64_t create_rev);
void gpu_grow_series(struct gpu *g, uint32_t n);
void gpu_name_series(struct gpu *g); /* after its identity was set */
void gpu_release_series(struct gpu *g);

/* ---- segments ---- */
uint32_t gpu_segment_index(const struct gpu *g, int64_t start, uint64_t incarnation);
struct segment *gpu_add_segment(struct gpu *g, int64_t start, uint64_t incarnation);
void segment_free(struct segment *s);
void segment_insert(struct segment *s, const struct chunk_rec *rec);
bool segment_drop(struct segment *s, const uint8_t id[TEXT_ID_LEN]);

/* ---- facets ---- */
/* Files a GPU anew where its newest sample or its identity says something else of it. */
void gpu_file(struct model *m, struct gpu *g);
void gpu_release_filed(struct gpu *g);
const struct facet *facet_below(const struct facet *f, const char *name); /* f may be NULL */
void facet_release(struct facet *f);

/* ---- what readers see ---- */

/* The segment as of which readers know start; NULL: not shown. */
struct segment *gpu_segment(const struct gpu *g, int64_t start_ns);
struct segment *gpu_newest_segment(const struct gpu *g);
/* File name of series i, encoded. */
const char *gpu_series_file(const struct gpu *g, uint32_t i);
/* What is shown of series i; NULL: nothing. */
const struct latest *gpu_latest(const struct gpu *g, uint32_t i);
struct slice latest_value(const struct latest *l);
struct gpu *model_uuid(const struct model *m, const char *uuid_name);

/* The next record of those that readers see; starts with *i = 0, *seq = 0. NULL: the end. */
const struct chunk_rec *segment_next(const struct segment *s, uint32_t *i, int64_t *seq);

struct ident *ident_new(struct identity *id); /* takes it over */
struct ident *ident_ref(struct ident *id);
void ident_unref(struct ident *id);

void ulid_to_id(const char *ulid, uint8_t ret[TEXT_ID_LEN]);
void ulid_from_id(const uint8_t id[TEXT_ID_LEN], char ret[27]);

/* ---- tree ------------------------------------------------------------------------------------ */

/* A file over all GPUs, kept between its stat and its read. */
struct cached_file {
	pthread_mutex_t lock;
	uint64_t version;
	int64_t from_ns, until_ns; /* wall clock, for what depends on it */
	struct strbuf text;
};
enum { CACHED_GPUS, CACHED_LATEST, CACHED_PROM, CACHED_FILES };

struct op; /* staged */

struct watcher {
	void (*fn)(int64_t revision, const struct change *c, size_t n, void *arg);
	void *arg;
};

struct tree {
	struct tree_conf conf;
	int64_t started_ns;
	struct text_cache *cache;

	/* Of the feeding thread. */
	struct model *fresh; /* while a list is coming in */
	struct op *ops, **ops_end;
	struct watcher watchers[TREE_WATCHERS];
	size_t n_watchers;

	pthread_rwlock_t lock;
	struct model *model;
	bool ready; /* a list has been in */
	int64_t revision;
	int64_t segment_ns; /* SEGMENT; 0: not known yet */
	uint64_t version;   /* counts what was published */

	pthread_mutex_t commit_lock; /* commits: for those who wait for the next one */
	pthread_cond_t commit_cond;
	uint64_t commits;

	pthread_mutex_t node_lock;
	struct map nodes; /* ino → node */
	struct node *root;

	struct pasts *pasts;

	struct cached_file cached[CACHED_FILES];
	pthread_mutex_t status_lock; /* the two below */
	struct strbuf status;
	struct mono status_at;
};

/* ---- nodes ----------------------------------------------------------------------------------- */

/* Where a node is, as far down as its kind goes; valid under the lock. */
struct place {
	struct tree *t;
	const struct host *host;
	const struct gpu *gpu;
	const struct segment *segment;
	const struct facet *facet;
	uint32_t series;
	int64_t at_ns;    /* in .at: the instant, which is now_ns then; else 0 */
	int64_t keep_ms;  /* in .at: attributes hold so long */
	int64_t revision; /* that is waited for */
	int64_t now_ns;
	int64_t until_ns; /* lowered by contents that change with the clock */
};

/* How whole files and links are made (tree_files.c, tree_fleet.c). */
typedef void (*render_fn)(struct strbuf *out, struct place *p);

void file_readme(struct strbuf *out, struct place *p);
void file_version(struct strbuf *out, struct place *p);
void file_revision(struct strbuf *out, struct place *p);
void file_status(struct strbuf *out, struct place *p);
void file_wait(struct strbuf *out, struct place *p);
void file_fleet_gpus(struct strbuf *out, struct place *p);
void file_fleet_latest(struct strbuf *out, struct place *p);
void file_fleet_prom(struct strbuf *out, struct place *p);
void file_host_latest(struct strbuf *out, struct place *p);
void file_uuid(struct strbuf *out, struct place *p);
void file_model(struct strbuf *out, struct place *p);
void file_device(struct strbuf *out, struct place *p);
void file_driver(struct strbuf *out, struct place *p);
void file_state(struct strbuf *out, struct place *p);
void file_info(struct strbuf *out, struct place *p);
void file_gpu_latest_csv(struct strbuf *out, struct place *p);
void file_gpu_latest_json(struct strbuf *out, struct place *p);
void file_gpu_prom(struct strbuf *out, struct place *p);
void file_stat(struct strbuf *out, struct place *p);
void file_metric(struct strbuf *out, struct place *p);
void link_gpu(struct strbuf *out, struct place *p);
void link_gpu_of_model(struct strbuf *out, struct place *p);
void link_gpu_of_pod(struct strbuf *out, struct place *p);
void link_newest(struct strbuf *out, struct place *p);

#define FILE_MAX ((size_t)1 << 30) /* of a file that is rendered whole */

void nodes_init(struct tree *t);
void nodes_release(struct tree *t);

/* Counts publishings; waits until there were more than seen, at most ms. */
uint64_t tree_commits(struct tree *t);
void tree_wait_commit(struct tree *t, uint64_t seen, int64_t ms);

/* Brings t->status up to date; without any lock. */
void status_refresh(struct tree *t, bool fresh);

/* A node's way to its segment, for row files. Under the lock. -ESTALE, -EIO, -EISDIR … */
int node_place(struct tree *t, const struct node *n, struct place *ret) must_check;
int node_rows_place(struct tree *t, const struct node *n, struct place *ret) must_check;

#define ROW_HEADER_LEN ((int64_t)sizeof(ROW_FILE_HEADER) - 1)

#endif
