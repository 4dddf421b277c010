/* What the kernel knows: one inode per node id that it holds, with its lookup count, and what it
 * may be keeping of that inode's attributes.
 *
 * Attributes of what belongs to hosts are cached by the kernel and pushed. For that to be exact,
 * everything that the mount says of such a file comes from one *shown* version: the attributes that
 * were given last. While they are shown, attributes and reads of row files answer from them, also
 * when the tree is ahead already; the notifier (notify.h) moves on:
 *
 *	1 mark		inode_publish_begin: answers carry timeout 0 from now on
 *	2 invalidate	the kernel drops what it has; an attribute answer that it is waiting for was
 *			asked before and is ignored (its attr_version). If it does not know the
 *			inode although we gave it out, a LOOKUP answer is on its way there: try
 *			again
 *	3 switch	inode_publish_end: nothing is shown; the next question takes the tree's
 *			newest
 *
 * attr_version is compared for whatever somebody asks; not for what a toucher (events.h) is
 *answered (mkdir, mknod, and utimensat before Linux 6.17), which the kernel takes whenever it
 *comes. So such answers are never kept: their timeout is 0.
 *
 * What the daemon cannot mend: the kernel says that attributes hold, and only then puts them in,
 *and stat(2) looks without a lock. One that falls within these nanoseconds, while another processor
 *takes an answer, gets the version of before, once; the next gets the right one. A server of 40
 *lines that keeps the rules above shows it to two tight readers at 6 of 10,000 changes; answers
 *without timeout make it rarer and do not end it.
 *
 * Values, latest.* and whatever else is rendered whole is read as it is in the tree, or as it was
 * when it was opened (promise.h). Whoever is given such a content while an older version is shown
 * publishes it first, in the same steps, so that nobody finds the size of before beside it. Of
 * those that change with time alone (state, *.prom) attributes hold until then.
 *
 * What is not shown costs nothing: the kernel has no attributes of it. Those of links and of what
 * belongs to no host are not cached. A cached name that has vanished without a push mends itself,
 * because the tree answers ESTALE, upon which the kernel looks the path up again.
 *
 * Paths are of the mount's root, without a slash in front; the root's is "". Only what the kernel
 * knows can be watched, for a watch keeps its inode; so paths also say where an event is worth its
 * price (events.h). What nobody looked at for a while is given back (prune.h), so that known means
 * held by somebody.
 *
 * Locks, in this order: table, inode; the tree's is taken under an inode's. */
#ifndef GPUTEL_FS_INODE_H
#define GPUTEL_FS_INODE_H

#include "map.h"
#include "saved.h"
#include "tree.h"

#include <pthread.h>

#define INODE_ROOT     1
#define INODE_CACHED_S 86400.0 /* "long": freshness comes from the push */

/* What belongs to one GPU ("host/gpu"), to one host ("host"), or the root (""). */
struct inode_group {
	char *key;
	struct inode *first;
	size_t count;
};

struct inode {
	/* Fixed. */
	uint64_t ino, parent;
	struct node *node; /* owned */
	char *path, *name; /* name: the end of path */
	enum node_type type;
	enum node_content content;
	bool pushed; /* attributes are cached */
	double entry_timeout;

	/* Under the table's lock. */
	uint64_t lookups;
	uint32_t refs;              /* lookups > 0 counts as one */
	int64_t used_ms;            /* monotonic: last lookup or open, or try to prune */
	struct inode_group *group;  /* NULL: of no host, or forgotten */
	struct inode *next, **link; /* in it */
	struct saved_inode *saved;  /* NULL: nothing is, or there is no room */

	pthread_mutex_t lock;
	/* Under lock. */
	bool has_shown, gone;
	uint32_t publishing; /* how many are about to publish it */
	struct attr shown;
	uint32_t promises; /* how many were promised a version and have not read it */
	bool promises_differ;
	struct attr promised; /* the one of the last of them */
};

struct inode_table;

/* The root is known from the start and is never forgotten. saved: NULL, or what outlives the
 * daemon; what a predecessor left there is found again when it is asked for. */
struct inode_table *inode_table_new(struct tree *tree, struct saved *saved);
/* Takes what a predecessor left for known, before anything else is. */
void inode_table_inherit(struct inode_table *t);
/* Numbers of it that were not yet found again; *ret is to be freed. */
size_t inode_left(struct inode_table *t, uint64_t **ret);
bool inode_is_left(struct inode_table *t, uint64_t ino);
void inode_table_free(struct inode_table *t); /* NULL is fine */
uint32_t inode_table_count(struct inode_table *t);

/* A reference to a known inode; NULL: not known. */
struct inode *inode_get(struct inode_table *t, uint64_t ino);
struct inode *inode_ref(struct inode_table *t, struct inode *i);
void inode_put(struct inode_table *t, struct inode *i); /* NULL is fine */

/* Looks a name up and counts the answer that the caller is about to give; an answer that could not
 * be delivered is taken back with inode_forget. *ret is a reference. -ENOENT, -ENOTDIR, -EIO. */
int inode_lookup(struct inode_table *t, struct inode *dir, const char *name, struct inode **ret,
		 struct attr *ret_attr, double *ret_timeout) must_check;
void inode_forget(struct inode_table *t, uint64_t ino, uint64_t n);
void inode_used(struct inode_table *t, struct inode *i);

/* A reference to what the kernel knows at that path; NULL: nothing. */
struct inode *inode_at(struct inode_table *t, const char *path);
/* Whether the kernel knows it, or anything of a GPU or host. */
bool inode_path_is_known(struct inode_table *t, const char *path);
bool inode_group_is_known(struct inode_table *t, const char *key);
/* Counts an answer of i to a LOOKUP of its path, also where it has vanished from the tree. */
void inode_count_lookup(struct inode_table *t, struct inode *i);

/* Numbers of what was not used for so long, those within a folder before it, and counts them as
 * used; *ret is to be freed. */
size_t inode_idle(struct inode_table *t, int64_t idle_ms, uint64_t **ret);

/* Attributes to answer with, and for how many seconds they hold. -ESTALE: vanished. */
int inode_attr(struct inode_table *t, struct inode *i, struct attr *ret,
	       double *ret_timeout) must_check;
/* How far a row file may be read: the size shown; INT64_MAX where nothing is shown. */
int64_t inode_read_limit(struct inode *i);

/* ---- publishing: by the notifier's thread, and by readers where it says so ---------------------
 */

/* References to all inodes of a group; *ret is to be freed. */
size_t inode_group_members(struct inode_table *t, const char *key, struct inode ***ret);

enum inode_change { INODE_SAME, INODE_CHANGED, INODE_GONE };
/* Step 1, if what is shown differs from the tree. vanishing: also where nothing is shown, find out
 * whether it still exists; INODE_GONE is said once. *ret_old_size is the size shown. */
enum inode_change inode_publish_begin(struct inode_table *t, struct inode *i, bool vanishing,
				      int64_t *ret_old_size);
/* Step 1 by a reader of that version, if another is shown. */
bool inode_publish_ahead(struct inode *i, const struct attr *now);
/* Whether the kernel holds it or is about to. */
bool inode_is_known(struct inode_table *t, struct inode *i);
void inode_publish_end(struct inode *i);

/* ---- promises (promise.h) ---------------------------------------------------------------------
 */

/* Somebody will read the version of these attributes; until then the kernel keeps no others. Also
 * step 1, where it says true. */
bool inode_promise(struct inode *i, const struct attr *a);
void inode_promise_end(struct inode *i);
bool inode_has_promises(struct inode *i);

#endif
