/* <host>/<gpu>/stream: rows from the moment of open, in the order of their commits, as lines of a
 * row file without its header line.
 *
 * Each open file has a cursor of its own, which is a row, not a place in some buffer: the rows come
 * from the store (query.h), as fast as each reader takes them. One thread renders what is next into
 * a piece per open file, of bounded size, so that a read and a poll(2) can be answered at once; a
 * read that finds it empty is parked. Where retention was faster than a reader, a line `# dropped
 * N` stands for N rows.
 *
 * Where open files outlive the daemon (saved.h), the cursor does: words hold that of the piece
 * which is being read, and the offset at which it began. */
#ifndef GPUTEL_FS_STREAM_H
#define GPUTEL_FS_STREAM_H

#include "lowlevel.h"
#include "tree.h"

struct streams; /* all that are open, and their thread */
struct stream;

#define STREAM_WORDS 5

/* on_ready: called from the thread when rows may have come for those that poll. */
struct streams *streams_new(struct tree *tree, void (*on_ready)(void *arg), void *arg);
/* Something was committed. */
void streams_wake(struct streams *s);
/* Ends the thread; nothing is answered any more. NULL is fine. */
void streams_stop(struct streams *s);
void streams_free(struct streams *s); /* after the last stream; NULL is fine */

/* node: a reference is taken. words: where its cursor is kept, and read from if it is there
 * already; NULL: nowhere. */
struct stream *stream_open(struct streams *s, struct node *node, uint64_t *words);
void stream_close(struct stream *st); /* NULL is fine */

/* Answers req, now or later. */
void stream_read(struct stream *st, fuse_req_t req, size_t size, int64_t offset, bool nonblock);
/* Whether a read would be answered at once. */
bool stream_ready(struct stream *st);

#endif
