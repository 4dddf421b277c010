/* HTTP/1.1 and HTTP/2 client (libcurl): a pool of kept-alive connections shared by the threads of a
 * process.
 *
 * Calls block; many threads may call at once, up to http_conf.max_inflight, the rest wait their
 * turn. http_cancel wakes every call, which then returns -ECANCELED, now and from then on. */
#ifndef GPUTEL_HTTP_H
#define GPUTEL_HTTP_H

#include "strbuf.h"

struct http;

struct http_conf {
	int dial_timeout_ms;
	int max_inflight;
	const char *cacert, *cert, *key; /* PEM files, or NULL */
};

struct http_header {
	const char *name, *value;
};

struct http_request {
	const char *method; /* "POST", "GET" */
	const char *url;
	const struct http_header *headers;
	size_t n_headers;
	const void *body;
	size_t body_len;
	int timeout_ms; /* for the whole exchange; of a stream: until its headers, 0 after that */
	int dial_timeout_ms; /* in place of http_conf's, or 0 */
	bool compressed; /* the answer may come as gzip; it is handed out without, and bounded so */
	bool h2;         /* HTTP/2, on http:// without asking first */
	/* Told each header and each trailer of the answer; or NULL. */
	void (*on_header)(struct slice name, struct slice value, void *arg);
	void *header_arg;
};

int http_open(struct http **ret, const struct http_conf *conf, struct err *e) must_check;
void http_close(struct http *h); /* no call may be under way; NULL is fine */
void http_cancel(struct http *h);

/* Sends and reads the whole answer. ret_body is reset first; its ceiling bounds the answer
 * (-EMSGSIZE). 0: an HTTP answer came, whatever its status.
 * -ECONNREFUSED: nothing was sent (refused, no route, name not found, dial or TLS failure, no turn
 * within timeout_ms).
 * -ETIMEDOUT, -ECONNRESET: it may have been carried out or not.
 * -EPROTONOSUPPORT: the peer answered, but not in HTTP/2.
 * -ECANCELED: as http_cancel says. */
int http_call(struct http *h, const struct http_request *q, int *ret_status,
	      struct strbuf *ret_body, struct err *e) must_check;

/* Sends and hands every piece of the body to on_data as it comes, until the peer ends the answer
 * (0), on_data returns non-zero (passed on) or it fails as above. While idle, on_idle (may be NULL)
 * is called about every idle_ms; non-zero ends the stream with that value. *ret_status is set
 * before the first on_data, which also gets the body of a status other than 200. The stream has a
 * connection of its own and does not count against max_inflight. */
int http_stream(struct http *h, const struct http_request *q, int *ret_status,
		int (*on_data)(const char *p, size_t n, void *arg), int (*on_idle)(void *arg),
		int idle_ms, void *arg, struct err *e) must_check;

#endif
