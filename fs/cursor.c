#include "cursor.h"

#include "query.h"
#include "render.h"

#define ROWS_MAX 4096 /* of an extent in one go */

/* ---- positions -------------------------------------------------------------------------------
 */

static bool is_before(const struct extent *x, const struct position *p)
{
	if (x->revision != p->revision)
		return x->revision < p->revision;
	if (x->segment_ns != p->segment_ns)
		return x->segment_ns < p->segment_ns;
	return x->first_seq + x->rows <= p->seq;
}

static bool is_same_segment(const struct extent *x, const struct position *p)
{
	return x->segment_ns == p->segment_ns && x->incarnation == p->incarnation;
}

/* What of the extent is left to be read: from the position on, where it is in this segment. What
 * lies before a later extent of the segment belongs to commits that can no longer be told apart,
 * and is read with it. */
static struct extent rest_of(const struct extent *x, const struct position *p)
{
	struct extent rest = *x;

	if (is_same_segment(x, p) && p->seq < x->first_seq + x->rows) {
		rest.rows = (uint32_t)(x->first_seq + x->rows - p->seq);
		rest.first_seq = p->seq;
	}
	rest.rows = MIN(rest.rows, ROWS_MAX);
	return rest;
}

static struct position position_of(const struct extent *x, int64_t seq)
{
	return (struct position){x->revision, x->segment_ns, seq, x->incarnation};
}

/* ---- rendering --------------------------------------------------------------------------------
 */

struct filling {
	struct cursor *c;
	const struct extent *x;
	size_t max;
	struct strbuf *out;
};

static int on_row(const struct identity *id, const struct query_row *row, void *arg)
{
	struct filling *f = arg;

	render_row(f->out, row->time, row->value, row->series, row->attribution);
	f->c->at = position_of(f->x, row->seq + 1);
	return f->out->err ? f->out->err : f->out->len >= f->max;
}

static void note_dropped(struct cursor *c, struct strbuf *out)
{
	if (c->dropped)
		strbuf_addf(out, "# dropped %llu\n", (unsigned long long)c->dropped);
	c->dropped = 0;
}

/* 1: enough for now. */
static int fill_extent(struct cursor *c, const struct extent *x, struct strbuf *out, size_t max)
{
	int64_t end = x->first_seq + x->rows;
	int r = 0;

	while (r == 0 && !(is_same_segment(x, &c->at) && c->at.seq >= end)) {
		struct extent rest = rest_of(x, &c->at);
		struct filling f = {c, &rest, max, out};

		note_dropped(c, out);
		r = query_extent_rows(c->tree, c->host, c->gpu, &rest, QUERY_PATIENCE_MS, on_row,
				      &f);
		if (r == -ESTALE || r == -ENODATA) {
			c->dropped += (uint64_t)(end - rest_of(x, &c->at).first_seq);
			c->at = position_of(x, end);
			r = 0;
		} else if (r == 0) {
			c->at = position_of(x, rest.first_seq + rest.rows);
		}
	}
	c->at.revision = MAX(c->at.revision, x->revision);
	return r;
}

int cursor_read(struct cursor *c, struct strbuf *out, size_t max)
{
	struct extent *list;
	struct attr a;
	int64_t floor;
	size_t n;
	int r = tree_attr(c->tree, c->node, &a);

	if (r < 0 || a.revision <= c->seen)
		return r;
	r = query_extents(c->tree, c->host, c->gpu, c->at.revision - 1, INT64_MAX, &list, &n,
			  &floor);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	for (size_t i = 0; i < n && r == 0; i++)
		if (!is_before(&list[i], &c->at))
			r = fill_extent(c, &list[i], out, max);
	free(list);
	note_dropped(c, out);
	if (r == 0)
		c->seen = a.revision;
	return r == -EBADMSG ? -EIO : r;
}

/* ---- life ------------------------------------------------------------------------------------
 */

void cursor_init(struct cursor *c, struct tree *tree, struct node *node)
{
	const char *path = node_path(node), *slash = strchr(path, '/');

	*c = (struct cursor){.tree = tree, .node = node_ref(node)};
	c->host = xstrndup(path, (size_t)(slash - path));
	c->gpu = xstrndup(slash + 1, (size_t)(strrchr(path, '/') - slash - 1));
}

int cursor_set_end(struct cursor *c)
{
	struct attr a = {0};
	int r = tree_attr(c->tree, c->node, &a);

	c->seen = a.revision;
	c->at.revision = a.revision + 1;
	return r < 0 ? -ESTALE : 0;
}

void cursor_release(struct cursor *c)
{
	node_unref(c->node);
	free(c->host);
	free(c->gpu);
}
