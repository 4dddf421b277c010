/* /api/v1/fs/{path}: the tree, byte for byte as the mount shows it.
 *
 * Row files never change a byte that was there, so their ETag says the incarnation and the size at
 * the start of the request, and a range of what was there then is right whenever it is read. */
#include <stdio.h>

#include "gzip.h"
#include "handlers.h"
#include "map.h"
#include "range.h"
#include "stamp.h"
#include "stream.h"

#define FS_PREFIX    "/api/v1/fs/"
#define PAST_PREFIX  ".at/"
#define PATH_MAX_RAW ((size_t)8 << 10)
#define CONTENT_MAX  ((size_t)1 << 30) /* as the tree's own (tree_internal.h) */
#define ROWS_AT_ONCE ((size_t)256 << 10)
#define ETAG_MAX     64

/* ---- paths ----------------------------------------------------------------------------------- */

/* One segment, decoded once: what is encoded in the tree's names stays so. */
static int add_segment(struct slice raw, struct strbuf *out)
{
	size_t from = out->len;
	struct slice s;

	if (!raw.len || percent_decode(raw, out))
		return -ENOENT;
	s = (struct slice){out->s + from, out->len - from};
	if (memchr(s.p, '/', s.len) || slice_eq(s, SLICE_LIT(".")) || slice_eq(s, SLICE_LIT("..")))
		return -ENOENT;
	return 0;
}

/* A '/' at the end is fine where the rest is a folder. */
static int decode_path(const char *raw, struct strbuf *out)
{
	int r = 0;

	while (*raw && !r) {
		size_t n = strcspn(raw, "/");

		r = add_segment((struct slice){raw, n}, out);
		raw += n;
		if (*raw == '/') {
			strbuf_addc(out, '/');
			raw++;
		}
	}
	return r ? r : out->err;
}

/* .at/<time>/ has the folders of hosts as well. */
static const char *scope_of(const char *path, char ret[NAME_MAX_ENCODED + 1])
{
	const char *below = strncmp(path, PAST_PREFIX, strlen(PAST_PREFIX))
				    ? NULL
				    : strchr(path + strlen(PAST_PREFIX), '/');

	if (below)
		path = below + 1;
	snprintf(ret, NAME_MAX_ENCODED + 1, "%.*s", (int)strcspn(path, "/"), path);
	return ret;
}

/* A token for some hosts reads their folders, and the root as far as it names them. */
static bool may_read(const struct request *q, const char *path)
{
	char host[NAME_MAX_ENCODED + 1];

	return principal_may_read_all(q->who) || !*path || strcmp(path, "README") == 0 ||
	       principal_may_read(q->who, scope_of(path, host));
}

/* ---- what all contents have ------------------------------------------------------------------ */

static const struct {
	const char *suffix, *type;
} types[] = {
	{".json", "application/json"},
	{".csv", "text/csv; charset=utf-8"},
	{".prom", "text/plain; version=0.0.4; charset=utf-8"},
	{"", "text/plain; charset=utf-8"},
};

static const char *type_of(const char *path)
{
	size_t n = strlen(path), i = 0;

	for (;; i++) {
		size_t len = strlen(types[i].suffix);

		if (n >= len && strcmp(path + n - len, types[i].suffix) == 0)
			return types[i].type;
	}
}

static void add_headers(struct answer *a, const struct attr *attr, const char *etag)
{
	char date[HTTP_DATE_MAX];

	http_date_format(attr->mtime_ns, date);
	answer_header(a, "ETag", "%s", etag);
	answer_header(a, "Last-Modified", "%s", date);
	answer_header(a, "Vary", "Accept-Encoding");
	answer_header(a, "X-Gputel-Revision", "%lld", (long long)attr->revision);
}

/* If-Modified-Since counts only without If-None-Match (RFC 9110 §13.2.2), and only where it is the
 * date of just this content: a late row changes a file, but not its greatest event time. */
static bool is_unchanged(const struct request *q, const struct attr *attr, const char *etag)
{
	const char *match = request_header(q, "If-None-Match");
	const char *since = request_header(q, "If-Modified-Since");
	int64_t s;

	if (match)
		return etag_listed(match, etag);
	return since && attr->dated && !http_date_parse(since, &s) &&
	       attr->mtime_ns / NS_PER_SEC == s;
}

/* The range that is asked for, of size bytes. False: 416 has been answered. */
static bool choose_range(const struct request *q, struct answer *a, int64_t size, bool holds,
			 int64_t *ret_first, int64_t *ret_length)
{
	const char *header = holds ? request_header(q, "Range") : NULL;

	*ret_first = 0;
	*ret_length = size;
	answer_header(a, "Accept-Ranges", "bytes");
	switch (range_parse(header, size, ret_first, ret_length)) {
	case RANGE_NONE:
		return true;
	case RANGE_BAD:
		answer_header(a, "Content-Range", "bytes */%lld", (long long)size);
		answer_problem(a, 416, "%.100s is outside the %lld bytes that there are", header,
			       (long long)size);
		return false;
	case RANGE_ONE:
		a->status = 206;
		answer_header(a, "Content-Range", "bytes %lld-%lld/%lld", (long long)*ret_first,
			      (long long)(*ret_first + *ret_length - 1), (long long)size);
	}
	return true;
}

static bool wants_gzip(const struct request *q, const struct answer *a, int64_t length)
{
	return a->status == 200 && length >= GZIP_MIN &&
	       gzip_accepted(request_header(q, "Accept-Encoding"));
}

/* "x" becomes "x-gzip": the same content in other bytes. */
static void mark_gzip(struct answer *a, const char *etag)
{
	answer_header(a, "ETag", "%.*s-gzip\"", (int)strlen(etag) - 1, etag);
	answer_header(a, "Content-Encoding", "gzip");
}

/* ---- files that are rendered whole ----------------------------------------------------------- */

static void cut_to(struct strbuf *b, int64_t first, int64_t length)
{
	strbuf_consume(b, (size_t)first);
	strbuf_truncate(b, (size_t)length);
}

static void compress(struct answer *a, const char *etag, struct strbuf *b)
{
	struct strbuf packed;

	strbuf_init(&packed, b->max);
	if (gzip_bytes((struct slice){b->s, b->len}, &packed) == 0 && !packed.err) {
		strbuf_release(b);
		*b = packed;
		mark_gzip(a, etag);
	} else {
		strbuf_release(&packed);
	}
}

static void serve_whole(struct request *q, struct answer *a, const char *path,
			const struct attr *attr, struct strbuf *b)
{
	const char *if_range = request_header(q, "If-Range");
	int64_t first, length;
	char etag[ETAG_MAX];

	snprintf(etag, sizeof(etag), "\"%llx-%016llx\"", (unsigned long long)attr->revision,
		 (unsigned long long)hash64(b->s ? b->s : "", b->len, 0));
	add_headers(a, attr, etag);
	if (is_unchanged(q, attr, etag)) {
		a->status = 304;
		return;
	}
	if (!choose_range(q, a, (int64_t)b->len, !if_range || strcmp(if_range, etag) == 0, &first,
			  &length))
		return;
	cut_to(b, first, length);
	if (wants_gzip(q, a, length))
		compress(a, etag, b);
	answer_bytes(a, type_of(path), b);
}

static void serve_snapshot(struct request *q, struct answer *a, struct node *n)
{
	struct attr attr;
	struct strbuf b;
	int r;

	strbuf_init(&b, CONTENT_MAX);
	r = tree_snapshot(q->gateway->tree, n, &b, &attr);
	if (r == 0)
		r = b.err;
	if (r)
		answer_errno(a, r, node_path(n));
	else
		serve_whole(q, a, node_path(n), &attr, &b);
	strbuf_release(&b);
}

/* ---- row files ------------------------------------------------------------------------------- */

/* A stretch of a row file that was there when the request began. */
struct stretch {
	struct tree *tree;
	struct node *node; /* a reference */
	int64_t at, left;
};

static int rows_fill(void *arg, struct strbuf *out)
{
	struct stretch *x = arg;
	size_t n = (size_t)MIN(x->left, (int64_t)ROWS_AT_ONCE), before = out->len;
	int r = tree_read_rows(x->tree, x->node, x->at, n, out);

	if (r)
		return r;
	if (out->len - before != n)
		return -EIO; /* it has shrunk, which it never does */
	x->at += (int64_t)n;
	x->left -= (int64_t)n;
	return x->left > 0;
}

static void rows_free(void *arg)
{
	struct stretch *x = arg;

	node_unref(x->node);
	free(x);
}

static struct source rows_source(struct tree *t, struct node *n, int64_t first, int64_t length)
{
	struct stretch *x = xcalloc(1, sizeof(*x));

	*x = (struct stretch){t, node_ref(n), first, length};
	return (struct source){rows_fill, rows_free, x};
}

/* Same incarnation, and no longer than what there is now. */
static bool if_range_holds(const char *tag, const struct attr *attr)
{
	unsigned long long incarnation, size;
	char end;

	if (!tag)
		return true;
	return sscanf(tag, "\"%llx.%llu%c", &incarnation, &size, &end) == 3 && end == '"' &&
	       incarnation == attr->incarnation && size <= (unsigned long long)attr->size;
}

static void send_rows(struct request *q, struct answer *a, struct node *n, const char *etag,
		      int64_t first, int64_t length)
{
	struct source s;

	if (q->method == METHOD_HEAD) {
		answer_header(a, "Content-Type", "%s", type_of(node_path(n)));
		a->length = length;
		return;
	}
	s = rows_source(q->gateway->tree, n, first, length);
	if (wants_gzip(q, a, length)) {
		mark_gzip(a, etag);
		s = gzip_source(&s);
		length = ANSWER_LENGTH_UNKNOWN;
	}
	answer_source(a, q, type_of(node_path(n)), &s, length);
}

static void serve_rows(struct request *q, struct answer *a, struct node *n)
{
	int64_t first, length;
	char etag[ETAG_MAX];
	struct attr attr;
	int r = tree_attr(q->gateway->tree, n, &attr);

	if (r) {
		answer_errno(a, r, node_path(n));
		return;
	}
	snprintf(etag, sizeof(etag), "\"%016llx.%lld\"", (unsigned long long)attr.incarnation,
		 (long long)attr.size);
	add_headers(a, &attr, etag);
	if (is_unchanged(q, &attr, etag))
		a->status = 304;
	else if (choose_range(q, a, attr.size, if_range_holds(request_header(q, "If-Range"), &attr),
			      &first, &length))
		send_rows(q, a, n, etag, first, length);
}

/* ---- folders --------------------------------------------------------------------------------- */

struct entry {
	char *name;
	struct attr attr;
};

struct entries {
	const struct request *q;
	bool root;
	struct entry *e;
	size_t n, cap;
};

/* Runs under the tree's lock. */
static int add_entry(const struct tree_entry *e, void *arg)
{
	struct entries *list = arg;

	if (list->root && !may_read(list->q, e->name))
		return 0;
	if (list->n == list->cap) {
		list->cap = MAX(64, list->cap * 2);
		list->e = xrealloc(list->e, list->cap * sizeof(*list->e));
	}
	list->e[list->n++] = (struct entry){xstrdup(e->name), e->attr};
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* As many fraction digits as say it exactly, in threes. */
static void add_time(struct strbuf *out, int64_t ns)
{
	int64_t rest = ns % NS_PER_SEC;
	uint8_t digits = rest == 0 ? 0 : rest % 1000000 == 0 ? 3 : rest % 1000 == 0 ? 6 : 9;
	char text[STAMP_MAX];

	strbuf_add(out, text, stamp_format((struct stamp){ns, digits}, text));
}

static void add_entry_json(struct strbuf *out, const struct entry *e)
{
	static const char *const type_names[] = {
		[NODE_DIR] = "directory", [NODE_FILE] = "file", [NODE_LINK] = "symlink"};

	strbuf_adds(out, "{\"name\":");
	strbuf_add_json(out, e->name, strlen(e->name));
	strbuf_addf(out, ",\"type\":\"%s\",\"size\":%lld,\"mtime\":\"", type_names[e->attr.type],
		    (long long)e->attr.size);
	add_time(out, e->attr.mtime_ns);
	strbuf_adds(out, "\"}");
}

static void entries_release(struct entries *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->e[i].name);
	free(list->e);
}

static void serve_folder(struct request *q, struct answer *a, struct node *n)
{
	struct entries list = {.q = q, .root = !*node_path(n)};
	struct attr attr;
	struct strbuf b;
	int r = tree_attr(q->gateway->tree, n, &attr);

	if (r == 0)
		r = tree_list(q->gateway->tree, n, 0, add_entry, &list);
	if (r) {
		answer_errno(a, r, *node_path(n) ? node_path(n) : "/");
	} else {
		if (list.n)
			qsort(list.e, list.n, sizeof(*list.e), by_name);
		strbuf_init(&b, CONTENT_MAX);
		strbuf_adds(&b, "{\"entries\":[");
		for (size_t i = 0; i < list.n; i++) {
			strbuf_adds(&b, i ? "," : "");
			add_entry_json(&b, &list.e[i]);
		}
		strbuf_adds(&b, "]}\n");
		serve_whole(q, a, "folder.json", &attr, &b);
		strbuf_release(&b);
	}
	entries_release(&list);
}

/* ---- the handler ----------------------------------------------------------------------------- */

/* Where links have led elsewhere. */
static void add_location(struct answer *a, const char *asked, const char *found)
{
	size_t n = strlen(asked);
	struct strbuf b;

	while (n && asked[n - 1] == '/')
		n--;
	if (n == strlen(found) && memcmp(asked, found, n) == 0)
		return;
	strbuf_init(&b, 4 * PATH_MAX_RAW);
	percent_encode(&b, found);
	answer_header(a, "Content-Location", FS_PREFIX "%s", b.s ? b.s : "");
	strbuf_release(&b);
}

/* folder: what was asked for ends in '/'. */
static void serve_node(struct request *q, struct answer *a, struct node *n, bool folder)
{
	struct attr attr;
	int r = tree_attr(q->gateway->tree, n, &attr);

	if (r == 0 && folder && attr.type != NODE_DIR)
		r = -ENOTDIR;
	if (r)
		answer_errno(a, r, *node_path(n) ? node_path(n) : "/");
	else if (attr.type == NODE_DIR)
		serve_folder(q, a, n);
	else if (attr.content == CONTENT_ROWS)
		serve_rows(q, a, n);
	else if (attr.content == CONTENT_SNAPSHOT)
		serve_snapshot(q, a, n);
	else
		answer_errno(a, -ENOENT, node_path(n));
}

static void serve_path(struct request *q, struct answer *a, const char *path)
{
	struct node *n = NULL;
	int r = tree_resolve(q->gateway->tree, path, true, &n);

	if (r) {
		answer_errno(a, r, path);
	} else if (!may_read(q, node_path(n))) {
		answer_problem(a, 403, "this token may not read %.300s", path);
	} else {
		add_location(a, path, node_path(n));
		serve_node(q, a, n, *path && path[strlen(path) - 1] == '/');
	}
	node_unref(n);
}

/* What is told by its path to be a few values of one GPU, hence made from memory: for these the way
 * through the pool would be most of the work. <host>/<gpu>/metrics/<METRIC>, and some beside it. */
bool fs_waits(const struct request *q)
{
	static const char *const values[] = {"latest.csv", "latest.json", "latest.prom", "stat",
					     "state"};
	const char *path = q->captures[0], *gpu = strchr(path, '/');
	const char *name = gpu ? strchr(gpu + 1, '/') : NULL;

	if (!name || *path == '.' || *path == '%') /* .at/ and its like */
		return true;
	name++;
	if (strncmp(name, "metrics/", 8) == 0)
		return strchr(name + 8, '/');
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (strcmp(name, values[i]) == 0)
			return false;
	return true;
}

void handle_fs(struct request *q, struct answer *a)
{
	struct strbuf path;
	int r;

	strbuf_init(&path, PATH_MAX_RAW);
	r = decode_path(q->captures[0], &path);
	if (r)
		answer_problem(a, 404, "%.300s does not exist", q->captures[0]);
	else
		serve_path(q, a, path.s ? path.s : "");
	strbuf_release(&path);
}
