#include "monitor.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "stats.h"

#define ANSWER_MAX ((size_t)64 << 20)
#define JSON       "application/json"
#define PROBLEM    "application/problem+json"

struct connection {
	int fd; /* -1: free */
	struct mono until;
	struct strbuf in, out; /* out: once the request is in */
	size_t sent;
};

struct monitor {
	struct monitor_conf conf;
	int listener, wake, port;
	pthread_t thread;
	struct connection connections[MONITOR_CONNECTIONS];
};

/* ---- answers --------------------------------------------------------------------------------- */

struct answer {
	int status;
	const char *type;
	struct strbuf body;
};

static const char *phrase(int status)
{
	static const struct {
		int status;
		const char *text;
	} phrases[] = {{200, "OK"},
		       {400, "Bad Request"},
		       {404, "Not Found"},
		       {405, "Method Not Allowed"},
		       {431, "Request Header Fields Too Large"},
		       {503, "Service Unavailable"}};

	for (size_t i = 0; i < ARRAY_SIZE(phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].text;
	return "";
}

/* RFC 9457; members: further ones, from their comma on. */
static void problem(struct answer *a, int status, const char *detail, const char *members)
{
	a->status = status;
	a->type = PROBLEM;
	strbuf_addf(
		&a->body,
		"{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"%s}\n",
		phrase(status), status, detail, members);
}

static void answer_metrics(const struct monitor *m, struct answer *a)
{
	a->type = STATS_TYPE;
	stats_render(&a->body);
}

static void answer_healthz(const struct monitor *m, struct answer *a)
{
	strbuf_adds(&a->body, "{\"status\":\"ok\"}\n");
}

static void answer_readyz(const struct monitor *m, struct answer *a)
{
	const char *before = ",\"reasons\":[";
	struct strbuf reasons;

	strbuf_init(&reasons, ANSWER_MAX);
	for (size_t i = 0; i < m->conf.n_hindrances; i++) {
		const struct hindrance *h = &m->conf.hindrances[i];

		if (!h->holds(m->conf.arg))
			continue;
		strbuf_addf(&reasons, "%s\"%s\"", before, h->reason);
		before = ",";
	}
	if (reasons.len) {
		strbuf_adds(&reasons, "]");
		problem(a, 503, "not ready", reasons.s);
	} else {
		strbuf_adds(&a->body, "{\"status\":\"ready\"}\n");
	}
	strbuf_release(&reasons);
}

static const struct {
	const char *path;
	void (*answer)(const struct monitor *m, struct answer *a);
} pages[] = {
	{"/metrics", answer_metrics}, {"/healthz", answer_healthz}, {"/readyz", answer_readyz}};

/* The next word of the request line; a query is not looked at. */
static struct slice take_word(struct slice *line)
{
	size_t n = 0;
	struct slice word;

	while (n < line->len && line->p[n] != ' ')
		n++;
	word = (struct slice){line->p, n};
	n += n < line->len;
	*line = (struct slice){line->p + n, line->len - n};
	return word;
}

static void answer_path(const struct monitor *m, struct slice path, struct answer *a)
{
	const char *query = memchr(path.p, '?', path.len);

	if (query)
		path.len = (size_t)(query - path.p);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (!slice_eq(path, slice_str(pages[i].path)))
			continue;
		pages[i].answer(m, a);
		return;
	}
	problem(a, 404, "expected /metrics, /healthz or /readyz", "");
}

static void add_head(struct strbuf *out, const struct answer *a)
{
	strbuf_addf(out,
		    "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s%s"
		    "Connection: close\r\n\r\n",
		    a->status, phrase(a->status), a->type, a->body.len,
		    a->status == 405 ? "Allow: GET, HEAD\r\n" : "",
		    a->status == 503 ? "Retry-After: 1\r\n" : "");
}

/* The whole answer to a request's first line. */
static void respond(const struct monitor *m, struct slice line, struct strbuf *out)
{
	struct answer a = {.status = 200, .type = JSON};
	struct slice method = take_word(&line), path = take_word(&line);
	bool head = slice_eq(method, SLICE_LIT("HEAD"));

	strbuf_init(&a.body, ANSWER_MAX);
	if (line.len < 7 || memcmp(line.p, "HTTP/1.", 7))
		problem(&a, 400, "expected a request of HTTP/1", "");
	else if (!head && !slice_eq(method, SLICE_LIT("GET")))
		problem(&a, 405, "expected GET or HEAD", "");
	else
		answer_path(m, path, &a);
	add_head(out, &a);
	if (!head)
		strbuf_add(out, a.body.s, a.body.len);
	strbuf_release(&a.body);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void connection_end(struct connection *c)
{
	close(c->fd);
	c->fd = -1;
	strbuf_release(&c->in);
	strbuf_release(&c->out);
}

static void connection_begin(struct connection *c, int fd)
{
	*c = (struct connection){.fd = fd, .until = mono_in_ms(MONITOR_DEADLINE_MS)};
	strbuf_init(&c->in, MONITOR_HEAD_MAX);
	strbuf_init(&c->out, ANSWER_MAX + MONITOR_HEAD_MAX);
}

static void refuse_head(struct strbuf *out)
{
	struct answer a = {0};

	strbuf_init(&a.body, ANSWER_MAX);
	problem(&a, 431, "the head of the request is too long", "");
	add_head(out, &a);
	strbuf_add(out, a.body.s, a.body.len);
	strbuf_release(&a.body);
}

/* Reads up to the empty line; then the answer is there. false: the connection is over. */
static bool take_request(const struct monitor *m, struct connection *c)
{
	char piece[1024];
	ssize_t n = recv(c->fd, piece, sizeof(piece), 0);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	strbuf_add(&c->in, piece, (size_t)n);
	if (c->in.err)
		refuse_head(&c->out);
	else if (memmem(c->in.s, c->in.len, "\r\n\r\n", 4))
		respond(m, (struct slice){c->in.s, strcspn(c->in.s, "\r\n")}, &c->out);
	return true;
}

/* false: all is sent, or the connection is over. */
static bool give_answer(struct connection *c)
{
	ssize_t n = send(c->fd, c->out.s + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->sent += (size_t)n;
	if (c->sent < c->out.len)
		return true;
	shutdown(c->fd, SHUT_WR);
	return false;
}

static void serve(const struct monitor *m, struct connection *c, short events)
{
	bool on = true;

	if (events && !c->out.len)
		on = take_request(m, c);
	if (on && c->out.len)
		on = give_answer(c);
	if (!on || !mono_ms_until(c->until))
		connection_end(c);
}

static struct connection *free_connection(struct monitor *m)
{
	for (size_t i = 0; i < MONITOR_CONNECTIONS; i++)
		if (m->connections[i].fd < 0)
			return &m->connections[i];
	return NULL;
}

static void accept_one(struct monitor *m)
{
	struct connection *c = free_connection(m);
	int fd = c ? accept4(m->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;

	if (fd >= 0)
		connection_begin(c, fd);
}

/* ---- thread ---------------------------------------------------------------------------------- */

static int timeout_ms(const struct monitor *m)
{
	int64_t ms = -1;

	for (size_t i = 0; i < MONITOR_CONNECTIONS; i++) {
		const struct connection *c = &m->connections[i];

		if (c->fd >= 0)
			ms = ms < 0 ? mono_ms_until(c->until) : MIN(ms, mono_ms_until(c->until));
	}
	return (int)ms;
}

static void *run(void *arg)
{
	struct pollfd polled[2 + MONITOR_CONNECTIONS];
	struct monitor *m = arg;

	for (;;) {
		polled[0] = (struct pollfd){.fd = m->wake, .events = POLLIN};
		polled[1] = (struct pollfd){.fd = free_connection(m) ? m->listener : -1,
					    .events = POLLIN};
		for (size_t i = 0; i < MONITOR_CONNECTIONS; i++) {
			const struct connection *c = &m->connections[i];

			polled[2 + i] = (struct pollfd){.fd = c->fd,
							.events = c->out.len ? POLLOUT : POLLIN};
		}
		if (poll(polled, ARRAY_SIZE(polled), timeout_ms(m)) < 0)
			continue;
		if (polled[0].revents)
			return NULL;
		for (size_t i = 0; i < MONITOR_CONNECTIONS; i++)
			if (m->connections[i].fd >= 0)
				serve(m, &m->connections[i], polled[2 + i].revents);
		if (polled[1].revents)
			accept_one(m);
	}
}

/* ---- life ------------------------------------------------------------------------------------ */

static int listen_at(int port, int *ret)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, r;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 128) == 0) {
		*ret = fd;
		return 0;
	}
	r = -errno;
	close(fd);
	return r;
}

static int listen_from(struct monitor *m, struct err *e)
{
	int first = (int)m->conf.port, last = MIN(first + MONITOR_PORTS - 1, 65535);
	int r = -EADDRINUSE;

	for (m->port = first; m->port <= last; m->port++) {
		r = listen_at(m->port, &m->listener);
		if (r != -EADDRINUSE)
			break;
	}
	if (r == -EADDRINUSE)
		return err_set(e, r, "METRICS_PORT: ports %d to %d are taken", first, last);
	if (r)
		return err_set(e, r, "METRICS_PORT: 127.0.0.1:%d: %s", m->port, strerror(-r));
	return 0;
}

static void monitor_free(struct monitor *m)
{
	for (size_t i = 0; i < MONITOR_CONNECTIONS; i++)
		if (m->connections[i].fd >= 0)
			connection_end(&m->connections[i]);
	if (m->listener >= 0)
		close(m->listener);
	if (m->wake >= 0)
		close(m->wake);
	free(m);
}

static int start_thread(struct monitor *m, struct err *e)
{
	int r;

	m->wake = eventfd(0, EFD_CLOEXEC);
	if (m->wake < 0)
		return err_set(e, -errno, "eventfd: %s", strerror(errno));
	r = pthread_create(&m->thread, NULL, run, m);
	if (r)
		return err_set(e, -r, "cannot start a thread: %s", strerror(r));
	pthread_setname_np(m->thread, "monitor");
	return 0;
}

int monitor_start(struct monitor **ret, const struct monitor_conf *conf, struct err *e)
{
	struct monitor *m = xcalloc(1, sizeof(*m));
	int r;

	m->conf = *conf;
	m->listener = m->wake = -1;
	for (size_t i = 0; i < MONITOR_CONNECTIONS; i++)
		m->connections[i].fd = -1;
	r = listen_from(m, e);
	if (!r)
		r = start_thread(m, e);
	if (r) {
		monitor_free(m);
		return r;
	}
	if (m->port != conf->port)
		log_warn("port %lld is taken: metrics are at http://127.0.0.1:%d/metrics",
			 (long long)conf->port, m->port);
	else
		log_info("metrics are at http://127.0.0.1:%d/metrics", m->port);
	*ret = m;
	return 0;
}

void monitor_stop(struct monitor *m)
{
	uint64_t one = 1;

	if (!m)
		return;
	while (write(m->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		continue;
	pthread_join(m->thread, NULL);
	monitor_free(m);
}

int monitor_port(const struct monitor *m)
{
	return m->port;
}
