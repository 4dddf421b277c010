#include "etcd_internal.h"

/* Pages of etcd_each: the first is small, the others aim at so many bytes. etcd 3.4 walks the index
 * of the whole range for each page, so many small ones would cost the square of the range. */
#define PAGE_FIRST 256
#define PAGE_MAX   20000
#define PAGE_BYTES (16 << 20)
/* Of an etcd that is slow, pages of so much time, but no smaller ones than that. */
#define PAGE_MS   1000
#define PAGE_SLOW 2000

/* ---- keys out ------------------------------------------------------------------------------- */

struct full_key {
	char s[ETCD_KEY_MAX + 1];
	size_t len;
};

/* prefix + key. False: too long, as b says then. */
static bool full_key(struct full_key *k, const struct etcd *c, struct slice key, struct strbuf *b)
{
	k->len = c->prefix_len + key.len;
	if (k->len > ETCD_KEY_MAX) {
		b->err = b->err ? b->err : -EMSGSIZE;
		return false;
	}
	memcpy(k->s, c->prefix, c->prefix_len);
	if (key.len)
		memcpy(k->s + c->prefix_len, key.p, key.len);
	/* etcd knows no empty key: the first possible one is a NUL */
	if (k->len == 0)
		k->s[k->len++] = '\0';
	return true;
}

void etcd_put_key(struct strbuf *b, const struct etcd *c, unsigned field, struct slice key)
{
	struct full_key k;

	if (full_key(&k, c, key, b))
		proto_add_bytes(b, field, (struct slice){k.s, k.len});
}

void etcd_put_end(struct strbuf *b, const struct etcd *c, unsigned field, const char *end)
{
	struct strbuf bound;

	if (!end)
		return;
	if (end[0]) {
		etcd_put_key(b, c, field, slice_str(end));
		return;
	}
	strbuf_init(&bound, ETCD_KEY_MAX);
	etcd_prefix_end(c->prefix, &bound);
	proto_add_bytes(b, field, (struct slice){bound.s, bound.len});
	strbuf_release(&bound);
}

void etcd_prefix_end(const char *prefix, struct strbuf *ret)
{
	size_t n = strlen(prefix);

	while (n && (unsigned char)prefix[n - 1] == 0xff)
		n--;
	strbuf_reset(ret);
	strbuf_add(ret, prefix, n);
	if (n == 0)
		strbuf_addc(ret, '\0');
	else if (!ret->err)
		ret->s[n - 1]++;
}

/* ---- keys and values in --------------------------------------------------------------------- */

int64_t etcd_header_revision(const struct json *doc)
{
	return json_int(json_get(json_get(doc, "header"), "revision"), 0);
}

size_t etcd_kvs_bytes(const struct json *list, bool in_event)
{
	size_t n = json_count(list), bytes = 0;

	for (size_t i = 0; i < n; i++) {
		const struct json *kv = json_at(list, i);

		if (in_event)
			kv = json_get(kv, "kv");
		bytes += json_str(json_get(kv, "key")).len + json_str(json_get(kv, "value")).len;
	}
	return bytes / 4 * 3;
}

static int unbase64(const struct json *j, struct strbuf *mem, struct slice *ret)
{
	struct slice text = json_str(j);
	size_t at = mem->len;
	int r = strbuf_add_unbase64(mem, text.p, text.len);

	*ret = (struct slice){mem->s + at, mem->len - at};
	return r;
}

int etcd_kv_decode(const struct etcd *c, const struct json *j, struct strbuf *mem,
		   struct etcd_kv *ret)
{
	int r = unbase64(json_get(j, "key"), mem, &ret->key);

	if (!r)
		r = unbase64(json_get(j, "value"), mem, &ret->value);
	if (r || ret->key.len < c->prefix_len)
		return -EBADMSG;
	ret->key.p += c->prefix_len;
	ret->key.len -= c->prefix_len;
	ret->create_rev = json_int(json_get(j, "create_revision"), 0);
	ret->mod_rev = json_int(json_get(j, "mod_revision"), 0);
	ret->version = json_int(json_get(j, "version"), 0);
	ret->lease = json_int(json_get(j, "lease"), 0);
	return 0;
}

static int range_decode(const struct etcd *c, const struct json *doc, struct strbuf *mem,
			struct etcd_range *ret)
{
	const struct json *list = json_get(doc, "kvs");
	int r = 0;

	ret->count = json_int(json_get(doc, "count"), 0);
	ret->more = json_bool(json_get(doc, "more"));
	for (size_t i = 0; i < ret->n && !r; i++)
		r = etcd_kv_decode(c, json_at(list, i), mem, &ret->kvs[i]);
	return r;
}

/* One piece of memory: etcd_range[n_ranges], etcd_kv[n_kvs], bytes of keys and values. */
static int ranges_decode(const struct etcd *c, const struct json *const *ranges, size_t n_ranges,
			 struct strbuf *mem)
{
	size_t n_kvs = 0, bytes = 0, head;
	struct etcd_range *out;
	struct etcd_kv *kvs;
	int r = 0;

	for (size_t i = 0; i < n_ranges; i++) {
		n_kvs += json_count(json_get(ranges[i], "kvs"));
		bytes += etcd_kvs_bytes(json_get(ranges[i], "kvs"), false);
	}
	head = n_ranges * sizeof(*out) + n_kvs * sizeof(*kvs);
	out = (struct etcd_range *)(void *)strbuf_reserve(mem, head + bytes);
	if (!out)
		return mem->err;
	memset(out, 0, head);
	mem->len = head;
	kvs = (struct etcd_kv *)(out + n_ranges);
	for (size_t i = 0; i < n_ranges && !r; i++) {
		out[i].kvs = kvs;
		out[i].n = json_count(json_get(ranges[i], "kvs"));
		kvs += out[i].n;
		r = range_decode(c, ranges[i], mem, &out[i]);
	}
	return r;
}

int etcd_reply_decode(const struct etcd *c, const struct json *doc,
		      const struct json *const *ranges, size_t n_ranges, struct etcd_reply *ret,
		      struct err *e)
{
	struct strbuf mem;
	int r;

	strbuf_init(&mem, 2 * (size_t)ETCD_REPLY_MAX);
	r = ranges_decode(c, ranges, n_ranges, &mem);
	if (r) {
		strbuf_release(&mem);
		return etcd_reply_decoded(r, e);
	}
	*ret = (struct etcd_reply){
		.revision = etcd_header_revision(doc),
		.succeeded = json_bool(json_get(doc, "succeeded")),
		.n_ranges = n_ranges,
		.mem = strbuf_take(&mem),
	};
	ret->ranges = ret->mem;
	return 0;
}

int etcd_reply_decoded(int r, struct err *e)
{
	return r ? err_set(e, r == -EBADMSG ? -EIO : r, "etcd: unreadable keys in an answer") : 0;
}

void etcd_reply_release(struct etcd_reply *r)
{
	free(r->mem);
	*r = (struct etcd_reply){0};
}

/* ---- reads ---------------------------------------------------------------------------------- */

struct range_request {
	struct slice key;
	const char *end;
	int64_t limit, revision;
	int flags;
};

static void put_range(struct strbuf *b, const struct etcd *c, const struct range_request *q)
{
	etcd_put_key(b, c, RANGE_KEY, q->key);
	etcd_put_end(b, c, RANGE_END, q->end);
	if (q->limit)
		proto_add_varint(b, RANGE_LIMIT, (uint64_t)q->limit);
	if (q->revision)
		proto_add_varint(b, RANGE_REVISION, (uint64_t)q->revision);
	if (q->flags & ETCD_SERIALIZABLE)
		proto_add_varint(b, RANGE_SERIALIZABLE, 1);
	if (q->flags & ETCD_KEYS_ONLY)
		proto_add_varint(b, RANGE_KEYS_ONLY, 1);
	if (q->flags & ETCD_COUNT_ONLY)
		proto_add_varint(b, RANGE_COUNT_ONLY, 1);
}

static int range_decode_answer(const struct etcd *c, const struct etcd_answer *a,
			       struct etcd_reply *ret, struct err *e)
{
	struct slice message = {a->message.s, a->message.len};

	if (a->doc)
		return etcd_reply_decode(c, a->doc, (const struct json *const[]){a->doc}, 1, ret,
					 e);
	return etcd_reply_decoded(etcd_range_from_proto(message, c->prefix_len, ret), e);
}

static int range_send(struct etcd *c, const struct range_request *range, struct etcd_reply *ret,
		      size_t *ret_size, struct err *e)
{
	struct etcd_request q = {.call = CALL_RANGE, .repeatable = true};
	struct etcd_answer answer;
	struct strbuf message;
	int r;

	strbuf_init(&message, 4 * ETCD_KEY_MAX);
	put_range(&message, c, range);
	q.message = (struct slice){message.s, message.len};
	r = message.err ? err_set(e, -E2BIG, "key longer than %d bytes", ETCD_KEY_MAX)
			: etcd_call_kv(c, &q, &answer, e);
	strbuf_release(&message);
	if (r)
		return r;
	if (ret_size)
		*ret_size = answer.size;
	r = range_decode_answer(c, &answer, ret, e);
	etcd_answer_release(&answer);
	return r;
}

int etcd_get(struct etcd *c, const char *key, const char *end, int64_t limit, int64_t revision,
	     int flags, struct etcd_reply *ret, struct err *e)
{
	struct range_request q = {slice_str(key), end, limit, revision, flags};

	return range_send(c, &q, ret, NULL, e);
}

static int64_t next_limit(int64_t limit, size_t page_bytes, int64_t ms)
{
	int64_t fits = limit * PAGE_BYTES / (int64_t)MAX(page_bytes, 1);
	int64_t soon = MAX(limit * PAGE_MS / MAX(ms, 1), PAGE_SLOW);

	return MAX(MIN(MIN(MIN(fits, soon), limit * 4), PAGE_MAX), 1);
}

/* A page too large for one answer is asked for again with fewer keys; so is, once, one that did not
 * come in time. */
static bool shrink(struct range_request *q, int r, bool *late)
{
	int64_t least = r == -ETIMEDOUT ? PAGE_FIRST : 1;

	if ((r != -EMSGSIZE && (r != -ETIMEDOUT || *late)) || q->limit <= least)
		return false;
	*late |= r == -ETIMEDOUT;
	q->limit = MAX((q->limit + 7) / 8, least);
	return true;
}

static int page_get(struct etcd *c, struct range_request *q, struct etcd_reply *ret, struct err *e)
{
	struct mono begun;
	bool late = false;
	size_t size = 0;
	int r;

	do {
		begun = mono_now();
		r = range_send(c, q, ret, &size, e);
	} while (r && shrink(q, r, &late));
	if (!r)
		q->limit = next_limit(q->limit, size, mono_ms_since(begun));
	return r;
}

static int page_walk(const struct etcd_range *page, int (*fn)(const struct etcd_kv *kv, void *arg),
		     void *arg)
{
	int r = 0;

	for (size_t i = 0; i < page->n && !r; i++)
		r = fn(&page->kvs[i], arg);
	return r;
}

/* The key right after the last one of the page. */
static void key_after(struct strbuf *b, const struct etcd_range *page)
{
	strbuf_reset(b);
	strbuf_add_slice(b, page->kvs[page->n - 1].key);
	strbuf_addc(b, '\0');
}

int etcd_each(struct etcd *c, const char *key, const char *end, int64_t revision, int flags,
	      int (*fn)(const struct etcd_kv *kv, void *arg), void *arg, int64_t *ret_revision,
	      struct err *e)
{
	struct range_request q = {slice_str(key), end, PAGE_FIRST, revision, flags};
	struct etcd_reply page = {0};
	struct strbuf next;
	bool more = true;
	int r = 0;

	strbuf_init(&next, ETCD_KEY_MAX + 1);
	while (more && !r) {
		r = page_get(c, &q, &page, e);
		if (r)
			break;
		if (!q.revision)
			q.revision = page.revision;
		if (ret_revision)
			*ret_revision = q.revision;
		r = page_walk(&page.ranges[0], fn, arg);
		more = page.ranges[0].more && page.ranges[0].n;
		if (more)
			key_after(&next, &page.ranges[0]);
		if (next.err && !r)
			r = err_set(e, -E2BIG, "key longer than %d bytes", ETCD_KEY_MAX);
		q.key = (struct slice){next.s, next.len};
		etcd_reply_release(&page);
	}
	strbuf_release(&next);
	return r;
}
