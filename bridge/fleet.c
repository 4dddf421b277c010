/* What there is: GPUs, hosts, latest values. */
#include "handlers.h"
#include "page.h"
#include "render.h"
#include "printer.h"

static void add_field(struct strbuf *out, const char *before, const char *value)
{
	strbuf_adds(out, before);
	strbuf_add_json(out, value, strlen(value));
}

static void add_time(struct strbuf *out, struct stamp t)
{
	char text[STAMP_MAX];

	strbuf_addc(out, '"');
	strbuf_add(out, text, stamp_format(t, text));
	strbuf_addc(out, '"');
}

static struct key_of_record key_of_gpu(const struct query_gpu *g, const char *series)
{
	return (struct key_of_record){0, g->host, g->gpu, series, 0};
}

static bool start_page(struct page *p, const struct request *q, enum format f, struct answer *a)
{
	int64_t limit;

	return ask_limit(q, f, &limit, a) && page_init(p, q, f, limit, a);
}

/* ---- GPUs ------------------------------------------------------------------------------------ */

/* What the latest rows of a GPU say of it. */
struct seen {
	struct columns metrics;
	struct stamp time;
	bool any;
};

static int see(const struct query_gpu *g, const struct query_row *row, void *arg)
{
	struct seen *s = arg;

	if (!s->any || row->time.ns >= s->time.ns)
		s->time = row->time;
	columns_add(&s->metrics, row->series->metric);
	s->any = true;
	return 0;
}

/* The same object as in .meta/gpus.json. */
static void add_identity(struct strbuf *out, const struct identity *id)
{
	char *place = id->uuid[0] ? NULL : xasprintf("%s:%s", id->host, id->gpu);

	add_field(out, "{\"id\":", place ? place : id->uuid);
	add_field(out, ",\"uuid\":", id->uuid);
	add_field(out, ",\"hostname\":", id->host);
	add_field(out, ",\"gpu_id\":", id->gpu);
	add_field(out, ",\"device\":", id->device);
	add_field(out, ",\"model\":", id->model);
	add_field(out, ",\"driver\":", id->driver);
	free(place);
}

static void add_gpu_json(struct strbuf *out, const struct query_gpu *g, struct seen *s)
{
	columns_sort(&s->metrics);
	add_identity(out, g->id);
	add_field(out, ",\"state\":", gpu_state_name(g->state));
	strbuf_adds(out, ",\"metrics\":[");
	for (size_t i = 0; i < s->metrics.n; i++)
		add_field(out, i ? "," : "", s->metrics.names[i]);
	strbuf_adds(out, "],\"last_seen\":");
	if (s->any)
		add_time(out, s->time);
	else
		strbuf_adds(out, "null");
	strbuf_addc(out, '}');
}

struct gpu_page {
	struct request *q;
	struct page page;
};

static int add_gpu(const struct query_gpu *g, void *arg)
{
	struct gpu_page *x = arg;
	struct key_of_record key = key_of_gpu(g, "");
	struct seen s = {.any = false};
	int r;

	if (!page_takes(&x->page, &key))
		return x->page.more;
	r = query_latest(x->q->gateway->tree, g->host, g->gpu, see, &s);
	if (r == 0) {
		page_note(&x->page, &key);
		add_gpu_json(&x->page.out, g, &s);
	}
	columns_release(&s.metrics);
	return r == -ENOENT || r == -ESTALE ? 0 : r; /* just gone */
}

/* r > 0: the page is full. */
static void finish_page(struct page *p, const struct request *q, int r, const char *what,
			struct answer *a)
{
	if (r == -ENOENT)
		answer_problem(a, 404, "there is no %.200s", what);
	else if (r == -EACCES)
		answer_problem(a, 403, "this token may not read %.200s", what);
	else if (r < 0)
		answer_errno(a, r, what);
	else
		page_answer(p, q, a);
	page_release(p);
}

void handle_gpus(struct request *q, struct answer *a)
{
	struct gpu_page x = {.q = q};

	if (start_page(&x.page, q, FORMAT_JSON, a))
		finish_page(&x.page, q, select_matching(q, NULL, add_gpu, &x), "GPU", a);
}

void handle_gpu(struct request *q, struct answer *a)
{
	const char *id = q->captures[0];
	struct gpu_page x = {.q = q};

	if (start_page(&x.page, q, FORMAT_JSON, a))
		finish_page(&x.page, q, select_id(q, id, request_arg(q, "hostname"), add_gpu, &x),
			    id, a);
}

void handle_host_gpus(struct request *q, struct answer *a)
{
	const char *host = q->captures[0];
	struct gpu_page x = {.q = q};
	int r;

	if (!start_page(&x.page, q, FORMAT_JSON, a))
		return;
	r = select_matching(q, host, add_gpu, &x);
	if (r == 0 && !x.page.n && !x.page.resumed)
		r = -ENOENT;
	finish_page(&x.page, q, r, host, a);
}

/* ---- hosts ----------------------------------------------------------------------------------- */

/* GPUs come host by host; a host is told when the next one begins. */
struct host_page {
	struct page page;
	char host[NAME_MAX_ENCODED + 1]; /* encoded; "": none yet */
	char *plain;
	int64_t gpus, states[GPU_LOST + 1], last_ns;
};

static void tell_host(struct host_page *x)
{
	struct key_of_record key = {0, x->host, "", "", 0};
	struct strbuf *out = &x->page.out;

	if (!x->host[0] || !page_takes(&x->page, &key))
		return;
	page_note(&x->page, &key);
	add_field(out, "{\"hostname\":", x->plain);
	strbuf_addf(out, ",\"gpus\":%lld", (long long)x->gpus);
	for (int s = 0; s <= GPU_LOST; s++)
		strbuf_addf(out, ",\"%s\":%lld", gpu_state_name((enum gpu_state)s),
			    (long long)x->states[s]);
	strbuf_adds(out, ",\"last_seen\":");
	add_time(out, (struct stamp){x->last_ns, x->last_ns % NS_PER_SEC ? 3 : 0});
	strbuf_addc(out, '}');
}

static int add_to_host(const struct query_gpu *g, void *arg)
{
	struct host_page *x = arg;

	if (strcmp(x->host, g->host) != 0) {
		tell_host(x);
		free(x->plain);
		x->plain = xstrdup(g->id->host);
		strcpy(x->host, g->host);
		memset(x->states, 0, sizeof(x->states));
		x->gpus = x->last_ns = 0;
	}
	x->gpus++;
	x->states[g->state]++;
	x->last_ns = MAX(x->last_ns, g->last_ns);
	return x->page.more;
}

void handle_hosts(struct request *q, struct answer *a)
{
	struct host_page x = {.gpus = 0};
	int r;

	if (!start_page(&x.page, q, FORMAT_JSON, a))
		return;
	r = select_matching(q, NULL, add_to_host, &x);
	if (r == 0)
		tell_host(&x);
	free(x.plain);
	finish_page(&x.page, q, r, "host", a);
}

/* ---- latest ---------------------------------------------------------------------------------- */

struct latest_page {
	struct request *q;
	struct page page;
	struct printer *printer;
	struct globs metrics;
};

static int add_latest(const struct query_gpu *g, const struct query_row *row, void *arg)
{
	struct latest_page *x = arg;
	struct record r = {
		.key = key_of_gpu(g, row->series->name),
		.id = g->id,
		.time = row->time,
		.attribution = *row->attribution,
		.series = row->series,
		.value = row->value,
	};

	if (!globs_match(&x->metrics, row->series->metric))
		return 0;
	if (!page_takes(&x->page, &r.key))
		return x->page.more;
	page_note(&x->page, &r.key);
	printer_add(x->printer, &r, &x->page.out);
	return 0;
}

static int add_latest_of(const struct query_gpu *g, void *arg)
{
	struct latest_page *x = arg;
	int r;

	if (page_is_past(&x->page, g->host, g->gpu))
		return 0;
	r = query_latest(x->q->gateway->tree, g->host, g->gpu, add_latest, x);
	return r == -ENOENT || r == -ESTALE ? 0 : r;
}

void handle_latest(struct request *q, struct answer *a)
{
	struct latest_page x = {.q = q, .metrics = globs_of(q, "metric")};
	enum format f = FORMAT_JSON;
	int r;

	if (!ask_format(q, &f, a) || !start_page(&x.page, q, f, a))
		return;
	x.printer = printer_new(f, NULL);
	printer_begin(x.printer, &x.page.out);
	r = select_matching(q, NULL, add_latest_of, &x);
	printer_end(x.printer, &x.page.out);
	printer_free(x.printer);
	finish_page(&x.page, q, r, "GPU", a);
}
