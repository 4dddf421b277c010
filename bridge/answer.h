/* What a handler answers: a status, headers, and a body that is whole or comes in pieces.
 *
 * A handler fills the answer and returns; rest.c sends it. A handler whose route says ROUTE_WAITS
 * runs on the pool and may wait for etcd; others run on a thread that serves connections and may
 * not. */
#ifndef GPUTEL_BRIDGE_ANSWER_H
#define GPUTEL_BRIDGE_ANSWER_H

#include <sys/types.h>

#include "request.h"

#define ANSWER_HEADERS_MAX    40
#define ANSWER_LENGTH_UNKNOWN (-1)
#define ANSWER_LENGTH_UNTOLD  (-2) /* to HEAD: GET would stream */

enum { BODY_END = -1, BODY_FAILED = -2 };

/* A body that is produced while it is sent. */
struct body_ops {
	/* Puts up to max bytes into buf and returns how many. 0: there are none yet, and it has
	 * called request_suspend. BODY_END; BODY_FAILED: the connection is reset. Runs on a thread
	 * that serves connections: must not wait. */
	ssize_t (*read)(void *arg, char *buf, size_t max);
	/* The last call, sent or not; never while the request is suspended. */
	void (*free)(void *arg);
};

struct answer {
	int status;
	struct {
		const char *name; /* static */
		char *value;
	} headers[ANSWER_HEADERS_MAX];
	size_t n_headers;
	struct strbuf body; /* whole */
	const struct body_ops *ops;
	void *ops_arg;
	/* Of a body in pieces. Without ops: the length that HEAD tells, where it is not body's. */
	int64_t length;
	bool problem; /* the body is still to be made of these: */
	struct err detail;
	struct strbuf
		members; /* further members of the problem, ,"name":value each; mostly empty */
};

void answer_init(struct answer *a);
void answer_release(struct answer *a);

void answer_header(struct answer *a, const char *name, const char *fmt, ...) printf_like(3, 4);
const char *answer_get_header(const struct answer *a, const char *name);

/* 200 with these bytes, which are taken over. A buffer that failed becomes a 500. */
void answer_bytes(struct answer *a, const char *type, struct strbuf *bytes);
/* The same, compressed where the request takes it and it is worth it (gzip.c). */
void answer_compressible(struct answer *a, const struct request *q, const char *type,
			 struct strbuf *bytes);
void answer_pieces(struct answer *a, const char *type, const struct body_ops *ops, void *arg,
		   int64_t length);
/* Drops what was put together, headers excepted, and says what is wrong (RFC 9457). */
void answer_problem(struct answer *a, int status, const char *fmt, ...) printf_like(3, 4);
/* The problem for an error of the tree or of queries: -ENOENT, -EIO, -ESTALE, … */
void answer_errno(struct answer *a, int error, const char *what);

/* Turns a problem into its body and adds what every answer carries. */
void answer_finish(struct answer *a, const struct request *q);

const char *status_title(int status);
/* The problem as JSON; instance and id may be NULL. */
void problem_json(struct strbuf *out, int status, const char *detail, const char *instance,
		  const char *id, struct slice members);

#endif
