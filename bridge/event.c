#include "event.h"

#include <pthread.h>
#include <stdio.h>

#include "render.h"

#define EVENT_MAX ((size_t)64 << 20) /* serialised rows of one commit */
#define LINE_MAX  128
#define NO_GAP    (-1)

/* ---- frames ---------------------------------------------------------------------------------- */

struct frame *frame_new(enum frame_kind kind, int64_t revision, struct slice text)
{
	struct frame *f = xmalloc(sizeof(*f) + FRAME_HEADROOM + text.len + 1);

	*f = (struct frame){.refs = 1, .kind = kind, .revision = revision, .len = text.len};
	f->data = (char *)(f + 1) + FRAME_HEADROOM;
	memcpy(f->data, text.p, text.len);
	f->data[text.len] = '\0';
	return f;
}

struct frame *frame_ref(struct frame *f)
{
	__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
	return f;
}

void frame_unref(struct frame *f)
{
	if (f && __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(f);
}

/* ---- selectors ------------------------------------------------------------------------------- */

struct selector *selector_new(const struct filter *filters, size_t n, struct principal *who)
{
	struct selector *s = xcalloc(1, sizeof(*s));

	s->refs = 1;
	s->filters = xcalloc(n + 1, sizeof(*s->filters));
	s->n = n;
	s->who = who ? principal_ref(who) : NULL;
	for (size_t i = 0; i < n; i++)
		filter_copy(&s->filters[i], &filters[i]);
	return s;
}

struct selector *selector_ref(struct selector *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void selector_unref(struct selector *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (size_t i = 0; i < s->n; i++)
		filter_release(&s->filters[i]);
	free(s->filters);
	principal_unref(s->who);
	free(s);
}

static bool filter_wants_gpu(const struct filter *f, const char *host, const char *gpu)
{
	return filter_matches(f, FILTER_HOST, host) && filter_matches(f, FILTER_GPU, gpu);
}

bool selector_wants_gpu(const struct selector *s, const char *host_name, const char *host,
			const char *gpu)
{
	bool wants = false;

	for (size_t i = 0; i < s->n && !wants; i++)
		wants = filter_wants_gpu(&s->filters[i], host, gpu);
	return wants && principal_may_read(s->who, host_name);
}

bool selector_wants_row(const struct selector *s, const char *host, const char *gpu,
			const char *uuid, const char *metric)
{
	bool wants = false;

	for (size_t i = 0; i < s->n && !wants; i++)
		wants = filter_matches(&s->filters[i], FILTER_METRIC, metric) &&
			filter_matches(&s->filters[i], FILTER_UUID, uuid) &&
			filter_wants_gpu(&s->filters[i], host, gpu);
	return wants;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Texts lie in the event's buffer, which moves while it grows: by offset. */
struct row_of_event {
	size_t metric, uuid, json, json_len;
};

struct gpu_of_event {
	size_t host_name, host, gpu;
	size_t first, n; /* of rows */
};

struct made {
	struct selector *selector; /* a reference, so that its address stays its own */
	struct frame **frames;
	size_t n;
};

struct event {
	int refs; /* atomic */
	int64_t revision, gap_from;
	struct mono at;
	struct strbuf text;
	struct gpu_of_event *gpus;
	size_t n_gpus, cap_gpus;
	struct row_of_event *rows;
	size_t n_rows, cap_rows;
	pthread_mutex_t lock;
	struct made *made;   /* under lock */
	size_t n_made, kept; /* kept: bytes of their frames */
};

struct event *event_new(int64_t revision)
{
	struct event *e = xcalloc(1, sizeof(*e));

	e->refs = 1;
	e->revision = revision;
	e->gap_from = NO_GAP;
	e->at = mono_now();
	strbuf_init(&e->text, EVENT_MAX);
	pthread_mutex_init(&e->lock, NULL);
	return e;
}

void event_set_gap(struct event *e, int64_t from)
{
	e->gap_from = from;
}

static void event_free(struct event *e)
{
	for (size_t i = 0; i < e->n_made; i++) {
		for (size_t k = 0; k < e->made[i].n; k++)
			frame_unref(e->made[i].frames[k]);
		free(e->made[i].frames);
		selector_unref(e->made[i].selector);
	}
	free(e->made);
	free(e->gpus);
	free(e->rows);
	strbuf_release(&e->text);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

struct event *event_ref(struct event *e)
{
	__atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
	return e;
}

void event_unref(struct event *e)
{
	if (e && __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0)
		event_free(e);
}

int64_t event_revision(const struct event *e)
{
	return e->revision;
}

size_t event_bytes(const struct event *e)
{
	return sizeof(*e) + e->text.cap + e->cap_rows * sizeof(*e->rows) +
	       e->cap_gpus * sizeof(*e->gpus);
}

struct mono event_made(const struct event *e)
{
	return e->at;
}

static const char *text_at(const struct event *e, size_t at)
{
	return e->text.s + at;
}

/* With its NUL; returns where it lies. */
static size_t add_text(struct event *e, struct slice s)
{
	size_t at = e->text.len;

	strbuf_add_slice(&e->text, s);
	strbuf_addc(&e->text, '\0');
	return at;
}

/* The rows of a GPU come one after another. */
static struct gpu_of_event *gpu_of(struct event *e, const char *host_name,
				   const struct identity *id)
{
	struct gpu_of_event *g = e->n_gpus ? &e->gpus[e->n_gpus - 1] : NULL;

	if (g && !e->text.err && strcmp(text_at(e, g->host_name), host_name) == 0 &&
	    strcmp(text_at(e, g->gpu), id->gpu) == 0)
		return g;
	if (e->n_gpus == e->cap_gpus) {
		e->cap_gpus = e->cap_gpus ? 2 * e->cap_gpus : 4;
		e->gpus = xrealloc(e->gpus, e->cap_gpus * sizeof(*e->gpus));
	}
	g = &e->gpus[e->n_gpus++];
	g->host_name = add_text(e, slice_str(host_name));
	g->host = add_text(e, slice_str(id->host));
	g->gpu = add_text(e, slice_str(id->gpu));
	g->first = e->n_rows;
	g->n = 0;
	return g;
}

int event_add(struct event *e, const char *host_name, const struct identity *id,
	      const struct query_row *row)
{
	struct gpu_of_event *g = gpu_of(e, host_name, id);
	struct row_of_event *r;

	if (e->n_rows == e->cap_rows) {
		e->cap_rows = e->cap_rows ? 2 * e->cap_rows : 16;
		e->rows = xrealloc(e->rows, e->cap_rows * sizeof(*e->rows));
	}
	r = &e->rows[e->n_rows];
	r->metric = add_text(e, slice_str(row->series->metric));
	r->uuid = add_text(e, row->attribution->uuid);
	r->json = e->text.len;
	render_row_json(&e->text, id, row->time, row->value, row->series, row->attribution);
	r->json_len = e->text.len - r->json;
	if (e->text.err)
		return e->text.err;
	e->n_rows++;
	g->n++;
	return 0;
}

/* ---- frames of events ------------------------------------------------------------------------ */

struct making {
	const struct event *event;
	const struct selector *wanted;
	struct selector *const *but;
	size_t n_but;
	struct strbuf text;
	size_t rows;
	struct frame **frames;
	size_t n, bytes;
};

static void add_frame(struct making *m, struct frame *f)
{
	m->frames = xrealloc(m->frames, (m->n + 1) * sizeof(*m->frames));
	m->frames[m->n++] = f;
	m->bytes += sizeof(*f) + FRAME_HEADROOM + f->len;
}

static void make_gap(struct making *m)
{
	const struct event *e = m->event;
	char text[LINE_MAX];
	int n = snprintf(text, sizeof(text), "{\"gap\":{\"from\":%lld,\"to\":%lld}}",
			 (long long)e->gap_from, (long long)e->revision);

	add_frame(m, frame_new(FRAME_GAP, e->revision, (struct slice){text, (size_t)n}));
}

static void end_frame(struct making *m, bool more)
{
	struct frame *f;

	strbuf_adds(&m->text, more ? "],\"more\":true}" : "]}");
	f = frame_new(FRAME_ROWS, m->event->revision, (struct slice){m->text.s, m->text.len});
	f->more = more;
	add_frame(m, f);
	strbuf_reset(&m->text);
	m->rows = 0;
}

static void make_row(struct making *m, const struct row_of_event *r)
{
	if (m->rows && m->text.len + r->json_len > FRAME_BYTES)
		end_frame(m, true);
	if (m->rows++ == 0)
		strbuf_addf(&m->text, "{\"rev\":%lld,\"rows\":[", (long long)m->event->revision);
	else
		strbuf_addc(&m->text, ',');
	strbuf_add(&m->text, text_at(m->event, r->json), r->json_len);
}

static bool is_wanted(const struct making *m, const struct gpu_of_event *g,
		      const struct row_of_event *r)
{
	const struct event *e = m->event;
	const char *host = text_at(e, g->host), *gpu = text_at(e, g->gpu);
	const char *uuid = text_at(e, r->uuid), *metric = text_at(e, r->metric);
	bool wanted = selector_wants_row(m->wanted, host, gpu, uuid, metric);

	for (size_t i = 0; i < m->n_but && wanted; i++)
		wanted = !selector_wants_row(m->but[i], host, gpu, uuid, metric);
	return wanted;
}

static void make_gpu(struct making *m, const struct gpu_of_event *g)
{
	const struct event *e = m->event;

	if (!selector_wants_gpu(m->wanted, text_at(e, g->host_name), text_at(e, g->host),
				text_at(e, g->gpu)))
		return;
	for (size_t i = g->first; i < g->first + g->n; i++)
		if (is_wanted(m, g, &e->rows[i]))
			make_row(m, &e->rows[i]);
}

static void make_frames(struct making *m, const struct selector *s)
{
	m->wanted = s;
	if (m->event->gap_from != NO_GAP)
		make_gap(m);
	strbuf_init(&m->text, EVENT_MAX);
	for (size_t i = 0; i < m->event->n_gpus; i++)
		make_gpu(m, &m->event->gpus[i]);
	if (m->rows)
		end_frame(m, false);
	strbuf_release(&m->text);
}

static struct frame **copy_refs(const struct made *m)
{
	struct frame **list = xmalloc((m->n + 1) * sizeof(struct frame *));

	for (size_t i = 0; i < m->n; i++)
		list[i] = frame_ref(m->frames[i]);
	return list;
}

/* Under the lock. */
static const struct made *find_made(const struct event *e, const struct selector *s)
{
	for (size_t i = 0; i < e->n_made; i++)
		if (e->made[i].selector == s)
			return &e->made[i];
	return NULL;
}

/* Under the lock. The frames become references of m's and the event's. */
static void keep(struct event *e, const struct making *m, struct selector *s)
{
	struct made made = {selector_ref(s), m->frames, m->n};

	e->made = xrealloc(e->made, (e->n_made + 1) * sizeof(*e->made));
	made.frames = copy_refs(&made);
	e->made[e->n_made++] = made;
	e->kept += m->bytes;
}

static bool has_room(const struct event *e, const struct making *m)
{
	return e->kept + m->bytes <= KEPT * MAX(e->text.len, FRAME_BYTES);
}

static void take_kept(struct event *e, struct selector *s, struct making *m)
{
	const struct made *kept;

	pthread_mutex_lock(&e->lock);
	kept = find_made(e, s);
	if (kept) {
		m->frames = copy_refs(kept);
		m->n = kept->n;
	} else {
		make_frames(m, s);
		if (has_room(e, m))
			keep(e, m, s);
	}
	pthread_mutex_unlock(&e->lock);
}

struct frame **event_frames(struct event *e, struct selector *s, struct selector *const *but,
			    size_t n_but, size_t *ret_n)
{
	struct making m = {.event = e, .but = but, .n_but = n_but};

	if (n_but || __atomic_load_n(&s->users, __ATOMIC_RELAXED) < 2)
		make_frames(&m, s);
	else
		take_kept(e, s, &m);
	*ret_n = m.n;
	return m.frames;
}
