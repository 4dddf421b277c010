#include "sizes.h"

#include "json.h"
#include "keys.h"

#include <stdio.h>

void sizes_release(struct sizes *s)
{
	free(s->list);
	*s = (struct sizes){0};
}

void sizes_clear(struct sizes *s)
{
	s->n = 0;
}

/* Where start is, or belongs. */
static size_t find(const struct sizes *s, int64_t start_ns)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->list[mid].start_ns < start_ns)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void sizes_add(struct sizes *s, int64_t start_ns, int64_t bytes)
{
	size_t i = find(s, start_ns);

	if (i < s->n && s->list[i].start_ns == start_ns) {
		s->list[i].bytes += bytes;
		return;
	}
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 16;
		s->list = xrealloc(s->list, s->cap * sizeof(*s->list));
	}
	memmove(s->list + i + 1, s->list + i, (s->n++ - i) * sizeof(*s->list));
	s->list[i] = (struct size){start_ns, bytes};
}

void sizes_add_all(struct sizes *s, const struct sizes *more)
{
	for (size_t i = 0; i < more->n; i++)
		sizes_add(s, more->list[i].start_ns, more->list[i].bytes);
}

int64_t sizes_total(const struct sizes *s)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < s->n; i++)
		bytes += s->list[i].bytes;
	return bytes;
}

int64_t sizes_keep_from(const struct sizes *s, int64_t max)
{
	int64_t bytes = 0;
	size_t i = s->n;

	while (i > 0 && (i == s->n || bytes + s->list[i - 1].bytes <= max))
		bytes += s->list[--i].bytes;
	return i ? s->list[i].start_ns : INT64_MIN;
}

/* ---- codec ----------------------------------------------------------------------------------- */

void sizes_encode(struct strbuf *out, const struct sizes *s)
{
	strbuf_adds(out, "{\"v\":1,\"segments\":[");
	for (size_t i = 0; i < s->n; i++)
		strbuf_addf(out, "%s[%lld,%lld]", i ? "," : "",
			    (long long)(s->list[i].start_ns / NS_PER_SEC),
			    (long long)s->list[i].bytes);
	strbuf_adds(out, "]}");
}

int sizes_decode(struct sizes *s, struct slice json, struct err *e)
{
	const struct json *list;
	struct json *doc;
	int r = json_parse(json.p, json.len, &doc, e);

	if (r)
		return err_prefix(e, r, "sizes");
	list = json_get(doc, "segments");
	if (json_int(json_get(doc, "v"), 0) != 1)
		r = err_set(e, -EBADMSG, "sizes: version is not 1");
	for (size_t i = 0; i < json_count(list) && !r; i++) {
		int64_t start = json_int(json_at(json_at(list, i), 0), -1);
		int64_t bytes = json_int(json_at(json_at(list, i), 1), -1);

		if (start < 0 || start > INT64_MAX / NS_PER_SEC || bytes < 0)
			r = err_set(e, -EBADMSG, "sizes: a segment that cannot be");
		else
			sizes_add(s, start * NS_PER_SEC, bytes);
	}
	json_free(doc);
	return r;
}

/* ---- exchange -------------------------------------------------------------------------------- */

static int add_others(const struct etcd_kv *kv, void *arg)
{
	/* Of another version: it counts nothing here. */
	return sizes_decode(arg, kv->value, NULL) == -ENOMEM ? -ENOMEM : 0;
}

int sizes_exchange(struct etcd *c, const char *consumer, int64_t lease, const struct sizes *mine,
		   struct sizes *ret_all, struct err *e)
{
	struct etcd_reply reply;
	struct strbuf text;
	struct etcd_txn t;
	struct key key;
	int r;

	snprintf(key.s, sizeof(key.s), KEY_SIZES "%s", consumer);
	strbuf_init(&text, ETCD_TXN_BYTES);
	sizes_encode(&text, mine);
	etcd_txn_init(&t, c, "sizes");
	etcd_then_put(&t, key.s, (struct slice){text.s, text.len}, lease);
	r = text.err ? err_set(e, -E2BIG, "sizes: too many segments")
		     : etcd_txn_send(&t, &reply, e);
	etcd_txn_release(&t);
	strbuf_release(&text);
	if (r)
		return r;
	etcd_reply_release(&reply);
	return etcd_each(c, KEY_SIZES, key_prefix_end(KEY_SIZES).s, 0, 0, add_others, ret_all, NULL,
			 e);
}
