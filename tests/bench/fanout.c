/* Many WebSocket clients of one bridge, and how late rows reach them.
 *
 *	fanout -p PORT [-n CLIENTS] [-t SECONDS] [-q QUERY] [-s STALLED] [-e ETCD -x PREFIX]
 *
 * Connects, says {"connected":…} when every client has its first frame, waits for a line on
 * standard input, counts what comes for so long, and prints one line of JSON. Times are in
 * microseconds.
 *
 *	row     from the value of a row, which is its wall time in microseconds, to each client
 *	commit  from when a watch of ours saw the row's commit in etcd (-e) to each client; below
 *	        zero where the client was first
 *	spread  from the first client that had a revision to each of the others
 *
 * Stalled clients want everything since the first revision, in the smallest of windows, and read
 * none of it. RFC 6455 by hand: the bridge's own library would share its misunderstandings. */
#include "clock.h"
#include "digest.h"
#include "etcd.h"
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_MAX       ((size_t)1 << 20) /* of a client, frames that are not whole */
#define READ_BYTES      ((size_t)256 << 10)
#define SAMPLES_MAX     ((size_t)8 << 20)
#define COMMITS_MAX     ((size_t)1 << 20)
#define CONNECT_SECONDS 60
#define EVENTS          256

enum { OP_TEXT = 1, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
enum state { CONNECTING, UPGRADING, OPEN, CLOSED };

struct client {
	int fd;
	enum state state;
	bool stalled, greeted;
	struct strbuf in;
};

struct sample {
	int64_t revision, at_us, row_us;
};

struct commit {
	int64_t revision, at_us;
};

struct fanout {
	const char *query, *endpoint, *prefix;
	int port, seconds;
	size_t n, stalled;
	struct client *clients;
	int epoll;
	size_t greeted, closed;
	int close_code; /* of who was closed last */
	bool counting;
	uint64_t frames, rows, bytes;
	struct sample *samples;
	size_t n_samples;
	/* The watch's. */
	struct etcd *etcd;
	struct etcd_mirror *mirror;
	struct commit *commits;
	size_t n_commits;
};

static void fail(const char *what)
{
	fprintf(stderr, "fanout: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- commits, as another reader of etcd sees them -------------------------------------------- */

static void on_list(int64_t rev, void *arg)
{
}

static void on_kv(const struct etcd_kv *kv, void *arg)
{
}

static void on_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct fanout *f = arg;

	if (f->n_commits < COMMITS_MAX)
		f->commits[f->n_commits++] = (struct commit){rev, now_us()};
}

static const struct etcd_mirror_ops watch_ops = {
	.list_begin = on_list, .list_kv = on_kv, .list_end = on_list, .commit = on_commit};

static void start_watch(struct fanout *f)
{
	struct etcd_conf conf = {.endpoints = f->endpoint,
				 .prefix = f->prefix,
				 .dial_timeout_ms = 5000,
				 .request_timeout_ms = 20000,
				 .max_inflight = 4};
	struct key end = key_prefix_end(KEY_DATA);
	struct err e = {"digest"};

	f->commits = xcalloc(COMMITS_MAX, sizeof(*f->commits));
	if (digest_init() || etcd_open(&f->etcd, &conf, &e) ||
	    etcd_mirror_start(&f->mirror, f->etcd, KEY_DATA, end.s, &watch_ops, f, &e)) {
		fprintf(stderr, "fanout: %s\n", e.text);
		exit(1);
	}
}

static void stop_watch(struct fanout *f)
{
	if (!f->etcd)
		return;
	etcd_cancel(f->etcd);
	etcd_mirror_stop(f->mirror);
	etcd_close(f->etcd);
}

/* ---- frames ---------------------------------------------------------------------------------- */

static int64_t number_after(struct slice text, const char *name)
{
	const char *at = memmem(text.p, text.len, name, strlen(name));

	return at ? strtoll(at + strlen(name), NULL, 10) : -1;
}

/* The rows of a frame came at once: the first one stands for them, the oldest. */
static void note_frame(struct fanout *f, struct slice text)
{
	static const char value[] = "\"value\":";
	const char *at = text.p, *end = text.p + text.len;
	int64_t row = number_after(text, value);

	f->frames++;
	f->bytes += text.len;
	for (; (at = memmem(at, (size_t)(end - at), value, sizeof(value) - 1)); at++)
		f->rows++;
	if (row > 0 && f->n_samples < SAMPLES_MAX)
		f->samples[f->n_samples++] =
			(struct sample){number_after(text, "{\"rev\":"), now_us(), row};
}

/* A client's frames are masked; these are short. */
static void send_frame(struct client *c, int op, struct slice payload)
{
	uint8_t frame[6 + 125] = {(uint8_t)(0x80 | op),
				  (uint8_t)(0x80 | MIN(payload.len, 125U)),
				  0x37,
				  0xfa,
				  0x21,
				  0x3d};
	size_t n = MIN(payload.len, (size_t)125);

	for (size_t i = 0; i < n; i++)
		frame[6 + i] = (uint8_t)payload.p[i] ^ frame[2 + i % 4];
	if (send(c->fd, frame, 6 + n, MSG_NOSIGNAL) < 0)
		errno = 0; /* it is closing */
}

static void close_client(struct fanout *f, struct client *c)
{
	if (c->state == CLOSED)
		return;
	close(c->fd);
	strbuf_release(&c->in);
	c->state = CLOSED;
	f->closed++;
}

static void take_frame(struct fanout *f, struct client *c, int op, struct slice payload)
{
	if (op == OP_PING)
		send_frame(c, OP_PONG, payload);
	if (op == OP_CLOSE && payload.len >= 2)
		f->close_code = (uint8_t)payload.p[0] << 8 | (uint8_t)payload.p[1];
	if (op != OP_TEXT)
		return;
	f->greeted += !c->greeted;
	c->greeted = true;
	if (f->counting)
		note_frame(f, payload);
}

static uint64_t big_endian(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* Bytes of the frame at the start of these; 0: it is not whole. */
static size_t next_frame(struct fanout *f, struct client *c, struct slice s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	size_t more = s.len < 2 ? 0 : (p[1] & 127) == 126 ? 2 : (p[1] & 127) == 127 ? 8 : 0;
	uint64_t n;

	if (s.len < 2 + more)
		return 0;
	n = more ? big_endian(p + 2, more) : p[1] & 127;
	if (n > s.len - 2 - more)
		return 0;
	take_frame(f, c, p[0] & 15, (struct slice){s.p + 2 + more, (size_t)n});
	return 2 + more + (size_t)n;
}

/* ---- clients --------------------------------------------------------------------------------- */

static void watch_fd(struct fanout *f, struct client *c, int how, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = c};

	if (epoll_ctl(f->epoll, how, c->fd, &e))
		fail("epoll_ctl");
}

static void connect_client(struct fanout *f, struct client *c)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)f->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int least = 1;

	strbuf_init(&c->in, INPUT_MAX);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("socket");
	if (c->stalled)
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		fail("connect");
	watch_fd(f, c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void upgrade(struct fanout *f, struct client *c)
{
	char head[1024];
	int n = snprintf(
		head, sizeof(head),
		"GET /api/v1/ws/telemetry%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		"Sec-WebSocket-Protocol: gputel\r\n\r\n",
		c->stalled ? "?since=1" : f->query, f->port);

	if (n >= (int)sizeof(head) || send(c->fd, head, (size_t)n, MSG_NOSIGNAL) != n)
		fail("the upgrade cannot be sent");
	c->state = UPGRADING;
	watch_fd(f, c, EPOLL_CTL_MOD, EPOLLIN);
}

/* The head of the answer; what follows it is frames. */
static size_t take_head(struct fanout *f, struct client *c, struct slice s)
{
	const char *end = memmem(s.p, s.len, "\r\n\r\n", 4);

	if (!end)
		return 0;
	if (s.len < 12 || memcmp(s.p, "HTTP/1.1 101", 12) != 0) {
		fprintf(stderr, "fanout: refused: %.*s\n", (int)MIN(s.len, 300U), s.p);
		exit(1);
	}
	c->state = OPEN;
	if (c->stalled) {
		epoll_ctl(f->epoll, EPOLL_CTL_DEL, c->fd, NULL);
		f->greeted++;
	}
	return (size_t)(end + 4 - s.p);
}

/* What is not whole is kept for later. */
static void take_bytes(struct fanout *f, struct client *c, struct slice s)
{
	size_t n = 1;

	while (s.len && n && c->state != CLOSED) {
		n = c->state == UPGRADING ? take_head(f, c, s) : next_frame(f, c, s);
		s = (struct slice){s.p + n, s.len - n};
	}
	if (c->in.len)
		strbuf_consume(&c->in, c->in.len - s.len);
	else
		strbuf_add_slice(&c->in, s);
}

static void read_client(struct fanout *f, struct client *c)
{
	static char buf[READ_BYTES];
	ssize_t n = recv(c->fd, buf, c->stalled ? 512 : sizeof(buf), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || c->in.err) {
		close_client(f, c);
		return;
	}
	if (!c->in.len) {
		take_bytes(f, c, (struct slice){buf, (size_t)n});
		return;
	}
	strbuf_add(&c->in, buf, (size_t)n);
	take_bytes(f, c, (struct slice){c->in.s, c->in.len});
}

/* Serves for at most so long. */
static void serve(struct fanout *f, int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(f->epoll, events, EVENTS, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct client *c = events[i].data.ptr;

		if (c->state == CONNECTING)
			upgrade(f, c);
		else if (c->state != CLOSED)
			read_client(f, c);
	}
}

static void connect_all(struct fanout *f)
{
	struct rlimit files = {0};
	struct mono begun = mono_now();

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < f->n + f->stalled; i++) {
		f->clients[i].stalled = i >= f->n;
		connect_client(f, &f->clients[i]);
	}
	while (f->greeted < f->n + f->stalled && mono_ms_since(begun) < CONNECT_SECONDS * 1000)
		serve(f, 100);
	if (f->greeted < f->n + f->stalled || f->closed) {
		fprintf(stderr, "fanout: %zu of %zu clients are connected\n", f->greeted,
			f->n + f->stalled);
		exit(1);
	}
	printf("{\"connected\": %zu, \"ms\": %lld}\n", f->greeted, (long long)mono_ms_since(begun));
	fflush(stdout);
}

/* Until a line comes, or standard input ends. */
static void wait_for_line(struct fanout *f)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	char c;

	while (poll(&in, 1, 0) == 0)
		serve(f, 10);
	while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		;
}

static void count(struct fanout *f)
{
	struct mono begun = mono_now();

	f->counting = true;
	while (mono_ms_since(begun) < f->seconds * 1000)
		serve(f, 100);
	f->counting = false;
}

/* ---- figures --------------------------------------------------------------------------------- */

static int by_revision(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	if (x->revision != y->revision)
		return x->revision < y->revision ? -1 : 1;
	return (x->at_us > y->at_us) - (x->at_us < y->at_us);
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void print_times(const char *name, int64_t *us, size_t n)
{
	if (!n)
		return;
	qsort(us, n, sizeof(*us), by_value);
	printf(", \"%s\": {\"n\": %zu, \"p50\": %lld, \"p99\": %lld, \"p999\": %lld, \"max\": "
	       "%lld}",
	       name, n, (long long)us[n / 2], (long long)us[(n - 1) * 99 / 100],
	       (long long)us[(n - 1) * 999 / 1000], (long long)us[n - 1]);
}

static size_t since_commit(const struct fanout *f, int64_t *us)
{
	size_t n = 0, c = 0;

	for (size_t i = 0; i < f->n_samples; i++) {
		const struct sample *s = &f->samples[i];

		while (c < f->n_commits && f->commits[c].revision < s->revision)
			c++;
		if (c < f->n_commits && f->commits[c].revision == s->revision)
			us[n++] = s->at_us - f->commits[c].at_us;
	}
	return n;
}

static void print_result(struct fanout *f)
{
	int64_t *us = xcalloc(f->n_samples + 1, sizeof(*us)), first = 0;

	qsort(f->samples, f->n_samples, sizeof(*f->samples), by_revision);
	printf("{\"frames\": %llu, \"rows\": %llu, \"bytes\": %llu, \"closed\": %zu, "
	       "\"close_code\": %d",
	       (unsigned long long)f->frames, (unsigned long long)f->rows,
	       (unsigned long long)f->bytes, f->closed, f->close_code);
	for (size_t i = 0; i < f->n_samples; i++)
		us[i] = f->samples[i].at_us - f->samples[i].row_us;
	print_times("row", us, f->n_samples);
	print_times("commit", us, since_commit(f, us));
	for (size_t i = 0; i < f->n_samples; i++) {
		if (!i || f->samples[i].revision != f->samples[i - 1].revision)
			first = f->samples[i].at_us;
		us[i] = f->samples[i].at_us - first;
	}
	print_times("spread", us, f->n_samples);
	printf("}\n");
	free(us);
}

static bool parse_options(struct fanout *f, int argc, char **argv)
{
	int o;

	*f = (struct fanout){.query = "", .prefix = "", .seconds = 10, .n = 1};
	while ((o = getopt(argc, argv, "p:n:t:q:s:e:x:")) != -1) {
		switch (o) {
		case 'p':
			f->port = atoi(optarg);
			break;
		case 'n':
			f->n = (size_t)atoi(optarg);
			break;
		case 't':
			f->seconds = atoi(optarg);
			break;
		case 'q':
			f->query = optarg;
			break;
		case 's':
			f->stalled = (size_t)atoi(optarg);
			break;
		case 'e':
			f->endpoint = optarg;
			break;
		case 'x':
			f->prefix = optarg;
			break;
		default:
			return false;
		}
	}
	return f->port && optind == argc;
}

int main(int argc, char **argv)
{
	static struct fanout f;

	if (!parse_options(&f, argc, argv)) {
		fprintf(stderr, "usage: fanout -p PORT [-n CLIENTS] [-t SECONDS] [-q QUERY] "
				"[-s STALLED] [-e ETCD -x PREFIX]\n");
		return 2;
	}
	f.clients = xcalloc(f.n + f.stalled, sizeof(*f.clients));
	f.samples = xcalloc(SAMPLES_MAX, sizeof(*f.samples));
	if (f.endpoint)
		start_watch(&f);
	connect_all(&f);
	wait_for_line(&f);
	count(&f);
	stop_watch(&f);
	print_result(&f);
	for (size_t i = 0; i < f.n + f.stalled; i++)
		close_client(&f, &f.clients[i]);
	return 0;
}
