#include "head.h"

#include <strings.h>

#include "parse.h"

struct head {
	const char *p, *end; /* what is not looked at yet; end: behind the empty line */
	struct slice method, target, version;
	int fields, hosts, lengths;
	bool upgrade, chunked;
	struct slice length;
	int status;
	struct err *e;
};

static int bad(struct head *h, int status, const char *what)
{
	h->status = status;
	return err_set(h->e, -EBADMSG, "%s", what);
}

/* Behind the empty line, or NULL. */
static const char *find_end(const char *p, size_t n)
{
	const char *end = p + n, *line = p;

	while ((line = memchr(line, '\n', (size_t)(end - line)))) {
		line++;
		if (line < end && *line == '\n')
			return line + 1;
		if (line + 1 < end && line[0] == '\r' && line[1] == '\n')
			return line + 2;
	}
	return NULL;
}

/* Without its end. There is one: the head is complete. */
static struct slice next_line(struct head *h)
{
	const char *nl = memchr(h->p, '\n', (size_t)(h->end - h->p));
	struct slice line = {h->p, (size_t)(nl - h->p)};

	h->p = nl + 1;
	if (line.len && line.p[line.len - 1] == '\r')
		line.len--;
	return line;
}

/* RFC 9110 §5.6.2 */
static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return s.len > 0;
}

static bool is_visible(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
			return false;
	return s.len > 0;
}

static int look_at_request_line(struct head *h)
{
	struct slice line = next_line(h);
	const char *a = memchr(line.p, ' ', line.len);
	const char *b = memrchr(line.p, ' ', line.len);

	if (!a || a == b)
		return bad(h, 400, "the request line is not \"METHOD target HTTP/1.1\"");
	h->method = (struct slice){line.p, (size_t)(a - line.p)};
	h->target = (struct slice){a + 1, (size_t)(b - a - 1)};
	h->version = (struct slice){b + 1, (size_t)(line.p + line.len - b - 1)};
	if (!is_token(h->method) || !is_visible(h->target))
		return bad(h, 400, "the request line is not \"METHOD target HTTP/1.1\"");
	if (!slice_eq(h->version, SLICE_LIT("HTTP/1.1")) &&
	    !slice_eq(h->version, SLICE_LIT("HTTP/1.0")))
		return bad(h, 400, "expected HTTP/1.1");
	if (h->target.len > HEAD_TARGET_MAX)
		return bad(h, 414, "the target of the request is longer than 8 KiB");
	return 0;
}

static struct slice trim(struct slice s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = (struct slice){s.p + 1, s.len - 1};
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static bool has_word(struct slice s, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= s.len; i++)
		if (strncasecmp(s.p + i, word, n) == 0)
			return true;
	return false;
}

static int on_host(struct head *h, struct slice value)
{
	h->hosts++;
	return 0;
}

static int on_length(struct head *h, struct slice value)
{
	uint64_t n;

	if (parse_u64(value, INT64_MAX, &n) || (h->lengths++ && !slice_eq(value, h->length)))
		return bad(h, 400, "Content-Length is not one number");
	h->length = value;
	return 0;
}

static int on_transfer_encoding(struct head *h, struct slice value)
{
	h->chunked = true;
	if (value.len == 7 && has_word(value, "chunked"))
		return 0;
	return bad(h, 400, "expected \"chunked\" as Transfer-Encoding");
}

static int on_upgrade(struct head *h, struct slice value)
{
	h->upgrade = has_word(value, "websocket");
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(struct head *h, struct slice value);
} fields[] = {
	{"Host", on_host},
	{"Content-Length", on_length},
	{"Transfer-Encoding", on_transfer_encoding},
	{"Upgrade", on_upgrade},
};

static bool is_clean(struct slice s)
{
	return !memchr(s.p, '\0', s.len) && !memchr(s.p, '\r', s.len);
}

static int look_at_field(struct head *h, struct slice line)
{
	const char *colon = memchr(line.p, ':', line.len);
	struct slice name = {line.p, colon ? (size_t)(colon - line.p) : 0}, value;

	if (!is_token(name))
		return bad(h, 400, "a header is not \"Name: value\"");
	value = trim((struct slice){colon + 1, line.len - name.len - 1});
	if (!is_clean(value))
		return bad(h, 400, "a header holds control characters");
	if (++h->fields > HEAD_FIELDS_MAX)
		return bad(h, 431, "more than 100 headers");
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (strlen(fields[i].name) == name.len &&
		    strncasecmp(fields[i].name, name.p, name.len) == 0)
			return fields[i].fn(h, value);
	return 0;
}

static int look_at_all(struct head *h)
{
	struct slice line;
	int r = look_at_request_line(h);

	while (!r && (line = next_line(h)).len)
		r = look_at_field(h, line);
	if (r)
		return r;
	if (h->hosts > 1 || (!h->hosts && h->version.p[7] == '1'))
		return bad(h, 400, "expected one Host header");
	if (h->chunked && h->lengths)
		return bad(h, 400, "Content-Length and Transfer-Encoding exclude each other");
	return 0;
}

/* A head that does not end: what of it is too long. */
static enum head_kind look_at_part(struct head *h, size_t n)
{
	bool line = !memchr(h->p, '\n', n);

	if (line && n > HEAD_TARGET_MAX + 32)
		bad(h, 414, "the target of the request is longer than 8 KiB");
	else if (n >= HEAD_MAX)
		bad(h, 431, "the head of the request is longer than 32 KiB");
	return h->status ? HEAD_BAD : HEAD_MORE;
}

/* RFC 9112 §2.2 */
static size_t blank_lines(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && (p[i] == '\r' || p[i] == '\n'))
		i++;
	return i;
}

size_t head_length(const char *p, size_t n)
{
	size_t blank = blank_lines(p, n);
	const char *end = find_end(p + blank, n - blank);

	return end ? (size_t)(end - p) : 0;
}

enum head_kind head_look(const char *p, size_t n, int *ret_status, struct err *e)
{
	size_t blank = blank_lines(p, n);
	struct head h = {.p = p + blank, .e = e};
	enum head_kind kind;

	n -= blank;
	h.end = find_end(h.p, n);
	if (!h.end)
		kind = look_at_part(&h, n);
	else if (look_at_all(&h))
		kind = HEAD_BAD;
	else if (h.upgrade && slice_eq(h.method, SLICE_LIT("GET")) &&
		 h.target.len >= sizeof(WEBSOCKET_PATH) - 1 &&
		 memcmp(h.target.p, WEBSOCKET_PATH, sizeof(WEBSOCKET_PATH) - 1) == 0)
		kind = HEAD_WEBSOCKET;
	else
		kind = HEAD_REST;
	if (kind == HEAD_BAD)
		*ret_status = h.status;
	return kind;
}
