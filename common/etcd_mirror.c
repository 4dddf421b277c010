#include "etcd_internal.h"
#include "log.h"

#include <stdatomic.h>
#include <time.h>

#define IDLE_MS       200 /* how soon a quiet watch sees that it shall stop or list again */
#define RETRY_BASE_MS 50
#define RETRY_MAX_MS  500
#define CREATE_MS     2000 /* within which every part is watched */
#define DENIED        "permission denied"
#define KEEP_BYTES    (1 << 20) /* larger buffers are given back when they are empty */

/* One range and how far it was delivered. */
struct part {
	char *key, *end;
	int64_t rev;
};

struct etcd_mirror {
	struct etcd *client;
	struct part *parts; /* each watched under its index + 1 as id */
	size_t n_parts;
	const struct etcd_mirror_ops *ops;
	void *arg;
	pthread_t thread;

	atomic_bool stop, relist;
	pthread_mutex_t lock; /* for cond alone */
	pthread_cond_t cond;  /* stop was set */

	/* the thread's own */
	bool listed;     /* what was delivered is whole, and a watch can go on from it */
	bool resuming;   /* a watch was interrupted since the list */
	bool up;         /* as last reported */
	bool complained; /* of being refused, since something was delivered */
	struct backoff backoff;
	struct strbuf mem; /* keys and values of one of the gateway's answers */
	struct etcd_event *events;
	size_t events_cap;

	/* of one watch */
	struct mono begun;
	size_t created; /* parts that are watched */
	bool delivered; /* an event or progress */
	struct err reason;
};

static bool wanted(const struct etcd_mirror *m)
{
	return !atomic_load(&m->stop) && !atomic_load(&m->relist);
}

/* Everything up to it was delivered. */
static int64_t delivered_rev(const struct etcd_mirror *m)
{
	int64_t rev = m->parts[0].rev;

	for (size_t i = 1; i < m->n_parts; i++)
		rev = MIN(rev, m->parts[i].rev);
	return rev;
}

static int64_t newest_rev(const struct etcd_mirror *m)
{
	int64_t rev = 0;

	for (size_t i = 0; i < m->n_parts; i++)
		rev = MAX(rev, m->parts[i].rev);
	return rev;
}

static void report_up(struct etcd_mirror *m, bool up)
{
	if (m->up == up)
		return;
	m->up = up;
	if (m->ops->up)
		m->ops->up(up, m->arg);
}

/* ---- list ----------------------------------------------------------------------------------- */

struct list {
	struct etcd_mirror *mirror;
	int64_t rev;
	bool begun;
};

static void list_begin(struct list *l)
{
	if (!l->begun)
		l->mirror->ops->list_begin(l->rev, l->mirror->arg);
	l->begun = true;
}

static int list_kv(const struct etcd_kv *kv, void *arg)
{
	struct list *l = arg;

	if (atomic_load(&l->mirror->stop))
		return -EINTR;
	list_begin(l);
	l->mirror->ops->list_kv(kv, l->mirror->arg);
	return 0;
}

static int list_all(struct etcd_mirror *m, struct err *e)
{
	struct list l = {.mirror = m};
	int r = 0;

	for (size_t i = 0; i < m->n_parts && !r; i++)
		r = etcd_each(m->client, m->parts[i].key, m->parts[i].end, l.rev, 0, list_kv, &l,
			      &l.rev, e);
	if (r)
		return r;
	list_begin(&l);
	m->ops->list_end(l.rev, m->arg);
	for (size_t i = 0; i < m->n_parts; i++)
		m->parts[i].rev = l.rev;
	m->listed = true;
	m->resuming = false;
	return 0;
}

/* ---- watch ---------------------------------------------------------------------------------- */

static struct etcd_event *room_for(struct etcd_mirror *m, size_t n)
{
	if (n > m->events_cap) {
		m->events = xrealloc(m->events, n * sizeof(*m->events));
		m->events_cap = n;
	}
	return m->events;
}

/* Hands out the events of each revision in one piece. What was seen already is dropped: etcd before
 * 3.4.25 can go back in time. */
static void commit_all(struct etcd_mirror *m, struct part *part, size_t n)
{
	for (size_t i = 0, next; i < n; i = next) {
		int64_t rev = m->events[i].kv.mod_rev;

		for (next = i + 1; next < n && m->events[next].kv.mod_rev == rev;)
			next++;
		if (rev <= part->rev)
			continue;
		m->ops->commit(rev, &m->events[i], next - i, m->arg);
		part->rev = rev;
	}
}

static void on_progress(struct etcd_mirror *m, struct part *part, int64_t rev)
{
	int64_t before = delivered_rev(m);

	m->delivered = true;
	part->rev = MAX(part->rev, rev);
	if (delivered_rev(m) > before && m->ops->progress)
		m->ops->progress(delivered_rev(m), m->arg);
}

static int on_canceled(struct etcd_mirror *m, const struct etcd_watch_answer *a)
{
	if (a->compact_revision > 0)
		return err_set(&m->reason, -ESTALE, "watch: compacted");
	err_set(&m->reason, 0, "watch canceled: %.*s", (int)MIN(a->reason.len, 200), a->reason.p);
	return memmem(a->reason.p, a->reason.len, DENIED, strlen(DENIED)) ? -EACCES : -EIO;
}

/* The gateway may have lost the request of a part (etcd_stream.c). */
static int check_created(struct etcd_mirror *m)
{
	if (m->created == m->n_parts || mono_ms_since(m->begun) < CREATE_MS)
		return 0;
	return err_set(&m->reason, -EIO, "etcd watches %zu ranges of %zu", m->created, m->n_parts);
}

/* The events of a are in m->events. */
static int on_watch_answer(struct etcd_mirror *m, const struct etcd_watch_answer *a)
{
	size_t part = m->n_parts > 1 ? (size_t)a->watch_id - 1 : 0;

	if (a->canceled)
		return on_canceled(m, a);
	if (part >= m->n_parts)
		return err_set(&m->reason, -EBADMSG, "watch: answer without its id");
	if (a->created) {
		m->created++;
		report_up(m, true);
	} else if (a->n == 0) {
		on_progress(m, &m->parts[part], a->revision);
	}
	if (a->n) {
		commit_all(m, &m->parts[part], a->n);
		m->delivered = true;
	}
	return check_created(m);
}

static int on_message(struct etcd_mirror *m, struct slice message)
{
	struct etcd_watch_answer a;
	int r = etcd_watch_from_proto(message, m->client->prefix_len, &a, NULL);

	if (!r && a.n)
		r = etcd_watch_from_proto(message, m->client->prefix_len, &a, room_for(m, a.n));
	return r ? r : on_watch_answer(m, &a);
}

/* ---- the gateway's answers ------------------------------------------------------------------ */

static int event_decode(const struct etcd_mirror *m, const struct json *j, struct strbuf *mem,
			struct etcd_event *ret)
{
	ret->deleted = slice_eq(json_str(json_get(j, "type")), SLICE_LIT("DELETE"));
	return etcd_kv_decode(m->client, json_get(j, "kv"), mem, &ret->kv);
}

static int events_decode(struct etcd_mirror *m, const struct json *list, size_t n)
{
	struct etcd_event *events = room_for(m, n);
	int r = 0;

	strbuf_reset(&m->mem);
	if (!strbuf_reserve(&m->mem, etcd_kvs_bytes(list, true)))
		return m->mem.err;
	for (size_t i = 0; i < n && !r; i++)
		r = event_decode(m, json_at(list, i), &m->mem, &events[i]);
	return r;
}

/* {"result":{"header":{…},"created":true}} {"result":{"header":{…},"events":[…]}}
 * {"result":{"header":{…}}} for progress, {"result":{"canceled":true,…}}, {"error":{…}} */
static int on_document(struct etcd_mirror *m, const struct json *doc)
{
	const struct json *result = json_get(doc, "result");
	const struct json *events = json_get(result, "events");
	struct etcd_watch_answer a = {
		.watch_id = json_int(json_get(result, "watch_id"), 0),
		.revision = etcd_header_revision(result),
		.compact_revision = json_int(json_get(result, "compact_revision"), 0),
		.created = json_bool(json_get(result, "created")),
		.canceled = json_bool(json_get(result, "canceled")),
		.reason = json_str(json_get(result, "cancel_reason")),
		.n = json_count(events),
	};
	int r = 0;

	if (!result)
		return etcd_error(200, doc, &m->reason);
	if (a.n)
		r = events_decode(m, events, a.n);
	if (!r)
		r = on_watch_answer(m, &a);
	if (m->mem.cap > KEEP_BYTES)
		strbuf_release(&m->mem);
	return r;
}

static int on_line(struct etcd_mirror *m, struct slice line)
{
	struct json *doc = NULL;
	int r = json_parse(line.p, line.len, &doc, &m->reason);

	if (!r)
		r = on_document(m, doc);
	json_free(doc);
	return r;
}

/* ---- the stream ----------------------------------------------------------------------------- */

static int on_answer(struct slice message, bool native, void *arg)
{
	struct etcd_mirror *m = arg;
	int r = native ? on_message(m, message) : on_line(m, message);

	return !r && !wanted(m) ? -EINTR : r;
}

static int on_idle(void *arg)
{
	return wanted(arg) ? check_created(arg) : -EINTR;
}

static void add_request(struct strbuf *lines, struct strbuf *frames, const struct etcd_mirror *m,
			size_t part)
{
	const struct part *p = &m->parts[part];
	struct strbuf message;
	size_t at;

	strbuf_init(&message, 4 * ETCD_KEY_MAX);
	at = proto_begin(&message, WATCH_CREATE);
	etcd_put_key(&message, m->client, CREATE_KEY, slice_str(p->key));
	etcd_put_end(&message, m->client, CREATE_END, p->end);
	proto_add_varint(&message, CREATE_START, (uint64_t)p->rev + 1);
	proto_add_varint(&message, CREATE_PROGRESS, 1);
	proto_add_varint(&message, CREATE_ID, part + 1);
	proto_end(&message, at);
	etcd_message_to_json(lines, etcd_methods[CALL_WATCH].request,
			     (struct slice){message.s, message.len});
	strbuf_addc(lines, '\n');
	etcd_grpc_frame(frames, (struct slice){message.s, message.len});
	if (message.err)
		lines->err = frames->err = message.err;
	strbuf_release(&message);
}

/* All parts in one stream. */
static int watch(struct etcd_mirror *m, struct err *e)
{
	struct etcd_stream q = {
		.method = &etcd_methods[CALL_WATCH],
		.on_answer = on_answer,
		.on_idle = on_idle,
		.idle_ms = IDLE_MS,
		.arg = m,
	};
	struct strbuf lines, frames;
	int r;

	strbuf_init(&lines, 8 * ETCD_KEY_MAX * m->n_parts);
	strbuf_init(&frames, 8 * ETCD_KEY_MAX * m->n_parts);
	for (size_t i = 0; i < m->n_parts; i++)
		add_request(&lines, &frames, m, i);
	q.lines = (struct slice){lines.s, lines.len};
	q.frames = (struct slice){frames.s, frames.len};
	m->begun = mono_now();
	m->created = 0;
	m->delivered = false;
	m->reason = (struct err){0};
	r = lines.err ? err_set(e, -EINVAL, "key of a mirror: too long")
		      : etcd_stream(m->client, &q, e);
	if (r && m->reason.text[0])
		err_set(e, r, "%s", m->reason.text);
	strbuf_release(&frames);
	strbuf_release(&lines);
	m->resuming = true;
	if (m->delivered) {
		m->backoff = (struct backoff){0};
		m->complained = false;
	}
	return r;
}

/* Before a watch goes on: a store that went back, as one restored from a backup, holds other things
 * under the revisions that were seen. Also renews a token that a watch alone could not. */
static int check_revision(struct etcd_mirror *m, struct err *e)
{
	struct etcd_reply reply = {0};
	int r = etcd_get(m->client, m->parts[0].key, NULL, 0, 0, ETCD_COUNT_ONLY, &reply, e);

	if (!r && reply.revision < newest_rev(m))
		r = -ESTALE;
	etcd_reply_release(&reply);
	return r;
}

/* ---- the thread ----------------------------------------------------------------------------- */

static void complain(struct etcd_mirror *m, int r, const struct err *e)
{
	if (m->complained)
		return;
	m->complained = true;
	log_warn("mirror of %s%s: %s", m->client->prefix, m->parts[0].key,
		 e->text[0] ? e->text : strerror(-r));
}

static void pause_after(struct etcd_mirror *m)
{
	struct mono until = mono_in_ms(backoff_next_ms(&m->backoff, RETRY_BASE_MS, RETRY_MAX_MS));
	struct timespec ts = {until.ns / NS_PER_SEC, until.ns % NS_PER_SEC};
	int r = 0;

	pthread_mutex_lock(&m->lock);
	while (!atomic_load(&m->stop) && !r)
		r = pthread_cond_clockwait(&m->cond, &m->lock, CLOCK_MONOTONIC, &ts);
	pthread_mutex_unlock(&m->lock);
}

static int step(struct etcd_mirror *m, struct err *e)
{
	int r = etcd_check_back(m->client, e);

	if (r)
		return r;
	if (atomic_exchange(&m->relist, false))
		m->listed = false;
	if (!m->listed)
		r = list_all(m, e);
	else if (m->resuming)
		r = check_revision(m, e);
	return r ? r : watch(m, e);
}

static void *run(void *arg)
{
	struct etcd_mirror *m = arg;

	while (!atomic_load(&m->stop)) {
		struct err e = {0};
		int r = step(m, &e);

		if (r == -ECANCELED)
			break;
		report_up(m, false);
		if (r == -EINTR)
			continue;
		if (r == -ESTALE || r == -EMSGSIZE || r == -EBADMSG)
			m->listed = false;
		else if (r && !etcd_transient(r))
			complain(m, r, &e);
		pause_after(m);
	}
	report_up(m, false);
	return NULL;
}

static void mirror_free(struct etcd_mirror *m)
{
	strbuf_release(&m->mem);
	pthread_cond_destroy(&m->cond);
	pthread_mutex_destroy(&m->lock);
	free(m->events);
	for (size_t i = 0; i < m->n_parts; i++) {
		free(m->parts[i].key);
		free(m->parts[i].end);
	}
	free(m->parts);
	free(m);
}

static void set_parts(struct etcd_mirror *m, const struct etcd_span *ranges, size_t n)
{
	m->parts = xcalloc(n, sizeof(*m->parts));
	m->n_parts = n;
	for (size_t i = 0; i < n; i++) {
		m->parts[i].key = xstrdup(ranges[i].key);
		m->parts[i].end = ranges[i].end ? xstrdup(ranges[i].end) : NULL;
	}
}

int etcd_mirror_start(struct etcd_mirror **ret, struct etcd *c, const char *key, const char *end,
		      const struct etcd_mirror_ops *ops, void *arg, struct err *e)
{
	return etcd_mirror_start_ranges(ret, c, &(struct etcd_span){key, end}, 1, ops, arg, e);
}

int etcd_mirror_start_ranges(struct etcd_mirror **ret, struct etcd *c,
			     const struct etcd_span *ranges, size_t n,
			     const struct etcd_mirror_ops *ops, void *arg, struct err *e)
{
	struct etcd_mirror *m = xcalloc(1, sizeof(*m));
	int r;

	m->client = c;
	set_parts(m, ranges, n);
	m->ops = ops;
	m->arg = arg;
	strbuf_init(&m->mem, ETCD_REPLY_MAX);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, NULL);
	r = pthread_create(&m->thread, NULL, run, m);
	if (r) {
		mirror_free(m);
		return err_set(e, -r, "thread of a mirror: %s", strerror(r));
	}
	*ret = m;
	return 0;
}

void etcd_mirror_stop(struct etcd_mirror *m)
{
	if (!m)
		return;
	atomic_store(&m->stop, true);
	pthread_mutex_lock(&m->lock);
	pthread_cond_signal(&m->cond);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	mirror_free(m);
}

void etcd_mirror_relist(struct etcd_mirror *m)
{
	atomic_store(&m->relist, true);
}
