#include "bucket.h"

#include "decimal.h"
#include "map.h"

#define TEXT_OF_VALUE 512
#define NAMES_MAX     (64 << 10) /* of an attribution */

/* One series in the present bucket. */
struct cell {
	struct key_of_record key;
	const struct identity *id;
	const struct series *series;
	struct attribution attribution; /* in names */
	struct strbuf names, value;
	struct decimal sum, best;
	uint64_t rows, numbers;
};

struct buckets {
	struct stage rows;
	int64_t step_ns;
	enum aggregate aggregate;
	bool descending;
	struct record ahead; /* the first row of the next bucket */
	bool has_ahead, ended;
	struct map cells; /* of {GPU, series} */
	struct cell **order;
	size_t n, at; /* of order, being given out */
};

int64_t bucket_start(int64_t t_ns, int64_t step_ns)
{
	int64_t rest = t_ns % step_ns;

	return t_ns - rest - (rest < 0 ? step_ns : 0);
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void cell_free(struct cell *c)
{
	strbuf_release(&c->names);
	strbuf_release(&c->value);
	free(c);
}

static void clear(struct buckets *b)
{
	map_each (&b->cells, i)
		cell_free(b->cells.entries[i].value);
	map_release(&b->cells);
	free(TAKE_PTR(b->order));
	b->n = b->at = 0;
}

static struct cell *cell_of(struct buckets *b, const struct record *r)
{
	const void *key[] = {r->key.host, r->key.gpu, r->series};
	struct cell *c = map_get(&b->cells, key, sizeof(key));

	if (c)
		return c;
	c = xcalloc(1, sizeof(*c));
	c->key = r->key;
	c->key.time_ns = bucket_start(r->key.time_ns, b->step_ns);
	c->key.series = r->series->name;
	c->key.seq = 0;
	c->id = r->id;
	c->series = r->series;
	strbuf_init(&c->names, NAMES_MAX);
	strbuf_init(&c->value, TEXT_OF_VALUE);
	map_put(&b->cells, key, sizeof(key), c);
	return c;
}

/* The row's strings live until the next row only. */
static void keep_attribution(struct cell *c, const struct attribution *a)
{
	const struct slice *from[] = {&a->uuid, &a->container, &a->pod, &a->namespace};
	struct slice *to[] = {&c->attribution.uuid, &c->attribution.container, &c->attribution.pod,
			      &c->attribution.namespace};
	size_t at = 0;

	strbuf_reset(&c->names);
	for (size_t i = 0; i < ARRAY_SIZE(from); i++)
		strbuf_add_slice(&c->names, *from[i]);
	for (size_t i = 0; i < ARRAY_SIZE(from); i++) {
		*to[i] = (struct slice){c->names.s ? c->names.s + at : "",
					c->names.err ? 0 : from[i]->len};
		at += to[i]->len;
	}
}

static void keep_value(struct cell *c, struct slice value)
{
	strbuf_reset(&c->value);
	strbuf_add_slice(&c->value, value);
}

/* Rows come in the order of reading: the last one by time is the first when it runs backwards. */
static void add_row(struct buckets *b, const struct record *r)
{
	struct cell *c = cell_of(b, r);
	bool last = c->rows++ == 0 || !b->descending, best;
	struct decimal d;

	if (last)
		keep_attribution(c, &r->attribution);
	if (b->aggregate == AGG_LAST) {
		if (last)
			keep_value(c, r->value);
		return;
	}
	if (decimal_parse(r->value, &d))
		return;
	c->sum = c->numbers ? decimal_add(c->sum, d) : d;
	best = !c->numbers++ || (b->aggregate == AGG_MAX ? decimal_cmp(d, c->best) > 0
							 : decimal_cmp(d, c->best) < 0);
	if (best && (b->aggregate == AGG_MIN || b->aggregate == AGG_MAX)) {
		c->best = d;
		keep_value(c, r->value);
	}
}

/* Its value as text; false: there is none. */
static bool settle(struct buckets *b, struct cell *c)
{
	switch (b->aggregate) {
	case AGG_COUNT:
		strbuf_addf(&c->value, "%llu", (unsigned long long)c->rows);
		return true;
	case AGG_LAST:
		return true;
	case AGG_SUM:
		if (c->numbers)
			decimal_format(&c->value, c->sum);
		break;
	case AGG_AVG:
		if (c->numbers)
			double_format(&c->value, decimal_double(c->sum) / (double)c->numbers);
		break;
	default:
		break;
	}
	return c->numbers > 0;
}

/* ---- the stage ------------------------------------------------------------------------------- */

static int by_key(const void *x, const void *y)
{
	return key_cmp(&(*(struct cell *const *)x)->key, &(*(struct cell *const *)y)->key);
}

static int by_key_down(const void *x, const void *y)
{
	return by_key(y, x);
}

static void sort(struct buckets *b)
{
	b->order = xcalloc(map_count(&b->cells) + 1, sizeof(struct cell *));
	map_each (&b->cells, i) {
		struct cell *c = b->cells.entries[i].value;

		if (settle(b, c))
			b->order[b->n++] = c;
	}
	qsort(b->order, b->n, sizeof(*b->order), b->descending ? by_key_down : by_key);
}

static int look_ahead(struct buckets *b)
{
	int r = b->ended ? 0 : stage_next(&b->rows, &b->ahead);

	b->has_ahead = r == 1;
	b->ended = r == 0;
	return MIN(r, 0);
}

/* All rows of the next bucket. Nothing is left: n stays 0 and it has ended. */
static int gather(struct buckets *b)
{
	int64_t start;
	int r = b->has_ahead ? 0 : look_ahead(b);

	clear(b);
	if (r || !b->has_ahead)
		return r;
	start = bucket_start(b->ahead.key.time_ns, b->step_ns);
	while (!r && b->has_ahead && bucket_start(b->ahead.key.time_ns, b->step_ns) == start) {
		add_row(b, &b->ahead);
		r = look_ahead(b);
	}
	if (!r)
		sort(b);
	return r;
}

static int bucket_next(void *arg, struct record *ret)
{
	struct buckets *b = arg;
	struct cell *c;
	int r;

	while (b->at == b->n) {
		r = gather(b);
		if (r || (b->ended && !b->n))
			return r;
	}
	c = b->order[b->at++];
	*ret = (struct record){
		.key = c->key,
		.id = c->id,
		.time = {c->key.time_ns, b->step_ns % NS_PER_SEC ? 3 : 0},
		.attribution = c->attribution,
		.series = c->series,
		.value = {c->value.s ? c->value.s : "", c->value.len},
	};
	return 1;
}

static void bucket_free(void *arg)
{
	struct buckets *b = arg;

	clear(b);
	stage_free(&b->rows);
	free(b);
}

struct stage bucket_stage(const struct stage *rows, int64_t step_ns, enum aggregate aggregate,
			  bool descending)
{
	struct buckets *b = xcalloc(1, sizeof(*b));

	b->rows = *rows;
	b->step_ns = step_ns;
	b->aggregate = aggregate;
	b->descending = descending;
	return (struct stage){bucket_next, bucket_free, b};
}
