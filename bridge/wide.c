#include "wide.h"

#define VALUES_MAX ((size_t)8 << 20) /* of one time */
#define NAMES_MAX  (64 << 10)

void columns_add(struct columns *c, const char *name)
{
	if (c->n == c->cap) {
		c->cap = MAX(32, 2 * c->cap);
		c->names = xrealloc(c->names, c->cap * sizeof(*c->names));
	}
	c->names[c->n++] = xstrdup(name);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void columns_sort(struct columns *c)
{
	size_t kept = 0;

	if (c->n)
		qsort(c->names, c->n, sizeof(*c->names), by_text);
	for (size_t i = 0; i < c->n; i++) {
		if (kept && strcmp(c->names[kept - 1], c->names[i]) == 0)
			free(c->names[i]);
		else
			c->names[kept++] = c->names[i];
	}
	c->n = kept;
}

void columns_release(struct columns *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->names[i]);
	free(c->names);
	*c = (struct columns){0};
}

/* ---- the stage ------------------------------------------------------------------------------- */

struct wide {
	struct stage records;
	const struct columns *columns;
	bool descending;
	struct map by_name; /* → index + 1 */
	struct record ahead;
	bool has_ahead, ended;
	struct strbuf values, names;
	struct {
		size_t at, len; /* in values */
		bool set;
	} * cells;
	struct slice *slices;
};

static int look_ahead(struct wide *w)
{
	int r = w->ended ? 0 : stage_next(&w->records, &w->ahead);

	w->has_ahead = r == 1;
	w->ended = r == 0;
	return MIN(r, 0);
}

/* In descending order the later position comes first. */
static void set_cell(struct wide *w, const struct record *r)
{
	uintptr_t i = (uintptr_t)map_get_str(&w->by_name, r->series->name);

	if (!i-- || (w->cells[i].set && w->descending))
		return;
	w->cells[i].at = w->values.len;
	w->cells[i].len = r->value.len;
	w->cells[i].set = true;
	strbuf_add_slice(&w->values, r->value);
}

static void begin(struct wide *w, struct record *ret)
{
	*ret = w->ahead;
	ret->series = NULL;
	ret->key.series = "";
	/* Behind all rows of this time, in the direction of reading. */
	ret->key.seq = w->descending ? -1 : INT64_MAX;
	strbuf_reset(&w->values);
	strbuf_reset(&w->names);
	strbuf_add_slice(&w->names, w->ahead.attribution.uuid);
	ret->attribution =
		(struct attribution){.uuid = {w->names.s ? w->names.s : "", w->names.len}};
	memset(w->cells, 0, w->columns->n * sizeof(*w->cells));
}

static bool belongs(const struct record *to, const struct record *r)
{
	return r->key.time_ns == to->key.time_ns && strcmp(r->key.host, to->key.host) == 0 &&
	       strcmp(r->key.gpu, to->key.gpu) == 0;
}

static int wide_next(void *arg, struct record *ret)
{
	struct wide *w = arg;
	int r = w->has_ahead ? 0 : look_ahead(w);

	if (r || !w->has_ahead)
		return r;
	begin(w, ret);
	while (!r && w->has_ahead && belongs(ret, &w->ahead)) {
		ret->time.digits = MAX(ret->time.digits, w->ahead.time.digits);
		set_cell(w, &w->ahead);
		r = look_ahead(w);
	}
	if (!r)
		r = w->values.err;
	for (size_t i = 0; i < w->columns->n; i++)
		w->slices[i] = (struct slice){w->cells[i].set ? w->values.s + w->cells[i].at : NULL,
					      w->cells[i].len};
	ret->columns = w->slices;
	return r ? r : 1;
}

static void wide_free(void *arg)
{
	struct wide *w = arg;

	stage_free(&w->records);
	map_release(&w->by_name);
	strbuf_release(&w->values);
	strbuf_release(&w->names);
	free(w->cells);
	free(w->slices);
	free(w);
}

struct stage wide_stage(const struct stage *records, const struct columns *columns, bool descending)
{
	struct wide *w = xcalloc(1, sizeof(*w));

	w->records = *records;
	w->columns = columns;
	w->descending = descending;
	w->cells = xcalloc(columns->n + 1, sizeof(*w->cells));
	w->slices = xcalloc(columns->n + 1, sizeof(*w->slices));
	strbuf_init(&w->values, VALUES_MAX);
	strbuf_init(&w->names, NAMES_MAX);
	for (uintptr_t i = 0; i < columns->n; i++)
		map_put(&w->by_name, columns->names[i], strlen(columns->names[i]), (void *)(i + 1));
	return (struct stage){wide_next, wide_free, w};
}
