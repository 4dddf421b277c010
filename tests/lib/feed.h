/* A store in memory for tests of the tree: makes chunks as a collector would, keeps their values
 * and bodies to be fetched, and feeds any number of trees with them. */
#ifndef GPUTEL_TEST_FEED_H
#define GPUTEL_TEST_FEED_H

#include "tree.h"

#include <pthread.h>

#define FEED_ROWS    4096 /* in a chunk */
#define FEED_COMMITS 256  /* told by a merged one */

struct feed_row {
	const char *metric, *value;
	int64_t ns;
	const char *labels, *pod; /* NULL: "" */
	uint8_t digits;
};

struct feed_chunk {
	char key[KEY_MAX];
	struct data_key parsed; /* points into key */
	struct strbuf value, body;
	struct feed_row *rows;
	size_t n;
	int64_t segment_ns, first_seq, stored_ns, csv_bytes, revision;
	uint64_t incarnation;
	struct chunk_commit commits[FEED_COMMITS]; /* of a merged one */
	uint32_t n_commits;
	struct feed_chunk *next;
};

/* One GPU's part of the store. */
struct feed {
	struct identity *id;
	char host[NAME_MAX_ENCODED + 1], gpu[NAME_MAX_ENCODED + 1];
	uint64_t incarnation;      /* of segments of chunks to come */
	struct feed_chunk *chunks; /* all ever made, to be freed */
};

/* Fetching from all feeds. */
struct feed_store {
	pthread_mutex_t lock;
	struct map values; /* ULID → feed_chunk */
	int fail;          /* fetches fail with this while it is not 0 */
	int fetches;
};

void feed_store_init(struct feed_store *s);
void feed_store_release(struct feed_store *s);
struct tree *feed_tree(struct feed_store *s);

struct feed *feed_new(const char *host, const char *gpu, const char *uuid);
void feed_free(struct feed *f);

/* A chunk of n rows at first_seq, known to the store. Values of rows and labels must be literals.
 * revision: create revision of its key; stored_ns: 0 takes a minute after its newest row. */
struct feed_chunk *feed_chunk(struct feed_store *s, struct feed *f, int64_t segment_ns,
			      int64_t first_seq, const struct feed_row *rows, size_t n,
			      int64_t stored_ns, int64_t revision);
/* What a merge of adjacent chunks writes; told: so many of the newest commits are told apart. */
struct feed_chunk *feed_merge(struct feed_store *s, struct feed *f, struct feed_chunk **parts,
			      size_t n, int64_t revision);
struct feed_chunk *feed_merge_told(struct feed_store *s, struct feed *f, struct feed_chunk **parts,
				   size_t n, int64_t revision, uint32_t told);
/* Its values are not in the store any more. */
void feed_forget(struct feed_store *s, struct feed_chunk *c);

void feed_put(struct tree *t, const struct feed_chunk *c, bool with_value);
void feed_drop(struct tree *t, const struct feed_chunk *c);
void feed_put_identity(struct tree *t, const struct feed *f, int64_t revision);
void feed_drop_identity(struct tree *t, const struct feed *f);

/* Whole content of a file, read in pieces of step bytes (0: at once); "!" and the error where it
 * cannot be read. To be freed. */
char *feed_cat(struct tree *t, const char *path, size_t step);

#endif
