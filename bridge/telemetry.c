/* /api/v1/gpus/{id}/telemetry: pages, and streams of any length in bounded memory. */
#include "bucket.h"
#include "gzip.h"
#include "handlers.h"
#include "merge.h"
#include "page.h"
#include "printer.h"
#include "stream.h"
#include "wide.h"

/* One request's way from queries to text; lives as long as the answer. */
struct listing {
	struct request *q;
	struct ask ask;
	struct selection gpus;
	struct columns columns;
	struct stage records;
	struct printer *printer;
	bool begun;
};

static void listing_free(void *arg)
{
	struct listing *l = arg;

	stage_free(&l->records);
	printer_free(l->printer);
	selection_release(&l->gpus);
	columns_release(&l->columns);
	free(l);
}

/* ---- GPUs ------------------------------------------------------------------------------------ */

static int add_gpu(const struct query_gpu *g, void *arg)
{
	struct listing *l = arg;

	selection_add(&l->gpus, g);
	for (uint32_t i = 0; l->ask.wide && i < g->id->n_series; i++)
		if (globs_match(&l->ask.metrics, g->id->series[i].metric))
			columns_add(&l->columns, g->id->series[i].name);
	return 0;
}

static bool choose_gpus(struct listing *l, struct answer *a)
{
	const char *id = l->q->captures[0];
	int r = select_id(l->q, id, request_arg(l->q, "hostname"), add_gpu, l);

	if (r == -ENOENT)
		answer_problem(a, 404, "there is no GPU %.200s", id);
	else if (r == -EACCES)
		answer_problem(a, 403, "this token may not read GPU %.200s", id);
	else if (r)
		answer_errno(a, r, id);
	columns_sort(&l->columns);
	return !r;
}

/* ---- records --------------------------------------------------------------------------------- */

static bool wants(const struct series *s, void *arg)
{
	return globs_match(&((struct listing *)arg)->ask.metrics, s->metric);
}

/* What a cursor says of buckets: its own one is read again, from its start. */
static void narrow(const struct listing *l, const struct cursor *c, struct query_range *range)
{
	int64_t start = bucket_start(c->time_ns, l->ask.step_ns), end;

	if (!range->descending)
		range->from_ns = MAX(range->from_ns, start);
	else if (!__builtin_add_overflow(start, l->ask.step_ns - 1, &end))
		range->to_ns = MIN(range->to_ns, end);
}

static int open_records(struct listing *l, const struct page *p)
{
	bool bucketed = l->ask.step_ns;
	struct query_range range = {
		.from_ns = l->ask.from_ns,
		.to_ns = l->ask.to_ns,
		.descending = l->ask.descending,
		.max_revision = p->cursor.ceiling,
		.wants = l->ask.metrics.n ? wants : NULL,
		.arg = l,
	};
	int r;

	if (bucketed && p->resumed)
		narrow(l, &p->cursor, &range);
	r = merge_open(&l->records, l->q->gateway->tree, &l->gpus, &range,
		       p->resumed && !bucketed ? &p->cursor : NULL);
	if (!r && bucketed)
		l->records = bucket_stage(&l->records, l->ask.step_ns, l->ask.aggregate,
					  l->ask.descending);
	if (!r && l->ask.wide)
		l->records = wide_stage(&l->records, &l->columns, l->ask.descending);
	return r;
}

/* ---- pages ----------------------------------------------------------------------------------- */

/* A bucket that was on an earlier page. */
static bool was_told(const struct listing *l, const struct page *p, const struct record *r)
{
	struct key_of_record after = cursor_key(&p->cursor);
	int d;

	if (!p->resumed || !l->ask.step_ns)
		return false;
	d = key_cmp(&r->key, &after);
	return l->ask.descending ? d >= 0 : d <= 0;
}

static int fill_page(struct listing *l, struct page *p)
{
	struct page first = *p; /* the cursor moves */
	struct record record;
	int r;

	while ((r = stage_next(&l->records, &record)) == 1) {
		if (was_told(l, &first, &record))
			continue;
		p->more = p->n == p->limit;
		if (p->more)
			return 0;
		page_note(p, &record.key);
		printer_add(l->printer, &record, &p->out);
	}
	return r;
}

static void answer_page(struct listing *l, struct page *p, struct answer *a)
{
	int r;

	printer_begin(l->printer, &p->out);
	r = fill_page(l, p);
	printer_end(l->printer, &p->out);
	if (r)
		answer_errno(a, r, "telemetry");
	else
		page_answer(p, l->q, a);
}

/* ---- streams --------------------------------------------------------------------------------- */

static int fill(void *arg, struct strbuf *out)
{
	struct listing *l = arg;
	struct record record;
	int r = 1;

	if (!l->begun)
		printer_begin(l->printer, out);
	l->begun = true;
	while (out->len < STREAM_PIECE && !out->err && r == 1) {
		r = stage_next(&l->records, &record);
		if (r == 1)
			printer_add(l->printer, &record, out);
		else if (r == 0)
			printer_end(l->printer, out);
	}
	return r;
}

/* Takes the listing over. */
static void answer_stream(struct listing *l, struct answer *a)
{
	struct source s = {fill, listing_free, l};
	struct request *q = l->q;
	const char *type = formats[l->ask.format].content_type;

	if (q->method == METHOD_HEAD) {
		listing_free(l);
		answer_header(a, "Content-Type", "%s", type);
		a->length = ANSWER_LENGTH_UNTOLD;
		return;
	}
	if (gzip_accepted(request_header(q, "Accept-Encoding"))) {
		s = gzip_source(&s);
		answer_header(a, "Content-Encoding", "gzip");
	}
	answer_source(a, q, type, &s, ANSWER_LENGTH_UNKNOWN);
}

/* ---- the handler ----------------------------------------------------------------------------- */

/* The first page settles what all later ones go by. */
static void settle(struct listing *l, struct page *p)
{
	if (p->resumed) {
		l->ask.from_ns = p->cursor.from_ns;
		l->ask.to_ns = p->cursor.to_ns;
		return;
	}
	p->cursor.from_ns = l->ask.from_ns;
	p->cursor.to_ns = l->ask.to_ns;
	p->cursor.ceiling = tree_revision(l->q->gateway->tree);
}

static bool prepare(struct listing *l, struct page *p, struct answer *a)
{
	int r;

	if (!page_init(p, l->q, l->ask.format, l->ask.limit, a) || !choose_gpus(l, a))
		return false;
	settle(l, p);
	l->printer = printer_new(l->ask.format, l->ask.wide ? &l->columns : NULL);
	r = open_records(l, p);
	if (r)
		answer_errno(a, r, "telemetry");
	return !r;
}

void handle_telemetry(struct request *q, struct answer *a)
{
	struct listing *l = xcalloc(1, sizeof(*l));
	struct page p = {.n = 0};

	l->q = q;
	if (ask_parse(q, &l->ask, a) && prepare(l, &p, a)) {
		if (l->ask.limit)
			answer_page(l, &p, a);
		else
			answer_stream(TAKE_PTR(l), a);
	}
	page_release(&p);
	if (l)
		listing_free(l);
}
