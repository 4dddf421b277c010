#include "page.h"

static const char json_begin[] = "{\"data\":[";

/* The cursor of the query that it came from. */
static bool take_cursor(struct page *p, const struct request *q, struct answer *a)
{
	const char *text = request_arg(q, "cursor");
	uint64_t query = ask_hash(q);

	p->cursor = (struct cursor){.query = query, .ceiling = INT64_MAX};
	if (!text)
		return true;
	p->resumed = true;
	if (cursor_decode(text, &p->cursor))
		answer_problem(a, 400, "cursor: it is not one of next_cursor's");
	else if (p->cursor.query != query)
		answer_problem(a, 400,
			       "cursor: it belongs to another query: only limit and format "
			       "may differ from the first page's");
	return !a->problem;
}

bool page_init(struct page *p, const struct request *q, enum format f, int64_t limit,
	       struct answer *a)
{
	*p = (struct page){.format = f, .limit = limit};
	if (!take_cursor(p, q, a))
		return false;
	strbuf_init(&p->out, PAGE_BYTES);
	if (f == FORMAT_JSON)
		strbuf_adds(&p->out, json_begin);
	return true;
}

void page_release(struct page *p)
{
	strbuf_release(&p->out);
}

bool page_takes(struct page *p, const struct key_of_record *key)
{
	struct key_of_record after = cursor_key(&p->cursor);

	if (p->resumed && key_cmp(key, &after) <= 0)
		return false;
	if (p->limit && p->n == p->limit)
		p->more = true;
	return !p->more;
}

bool page_is_past(const struct page *p, const char *host, const char *gpu)
{
	int d = p->resumed ? strcmp(host, p->cursor.host) : 1;

	return d < 0 || (d == 0 && strcmp(gpu, p->cursor.gpu) < 0);
}

void page_note(struct page *p, const struct key_of_record *key)
{
	if (p->format == FORMAT_JSON && p->n)
		strbuf_addc(&p->out, ',');
	if (++p->n == p->limit)
		cursor_set_key(&p->cursor, key);
}

static void add_arg(struct strbuf *out, const char *name, const char *value)
{
	strbuf_addc(out, memchr(out->s, '?', out->len) ? '&' : '?');
	percent_encode_arg(out, name);
	strbuf_addc(out, '=');
	percent_encode_arg(out, value);
}

/* RFC 8288. */
static void add_link(struct answer *a, const struct request *q, const char *cursor)
{
	struct strbuf url;

	strbuf_init(&url, 64 << 10);
	strbuf_adds(&url, q->path);
	for (size_t i = 0; i < q->n_args; i++)
		if (strcmp(q->args[i].name, "cursor") != 0)
			add_arg(&url, q->args[i].name, q->args[i].value);
	add_arg(&url, "cursor", cursor);
	if (!url.err)
		answer_header(a, "Link", "<%s>; rel=\"next\"", url.s);
	strbuf_release(&url);
}

void page_answer(struct page *p, const struct request *q, struct answer *a)
{
	struct strbuf next;

	strbuf_init(&next, 4096);
	if (p->more) {
		cursor_encode(&next, &p->cursor);
		add_link(a, q, next.s);
	}
	if (p->format == FORMAT_JSON) {
		strbuf_addf(&p->out, "],\"count\":%lld,\"has_more\":%s", (long long)p->n,
			    p->more ? "true" : "false");
		if (p->more)
			strbuf_addf(&p->out, ",\"next_cursor\":\"%s\"", next.s);
		strbuf_adds(&p->out, "}\n");
	}
	strbuf_release(&next);
	answer_compressible(a, q, formats[p->format].content_type, &p->out);
}
