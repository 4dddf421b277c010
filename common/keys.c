#include "keys.h"

#include <stdio.h>

#include "digest.h"
#include "parse.h"

#define STAMP_DIGITS 20

/* ---- names ---------------------------------------------------------------------------------- */

static bool is_plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("._:{}=\",-", c));
}

/* What fixed files beside hosts and GPUs are called (tree_kinds.c). first and rest: the name. */
static bool is_reserved(char first, struct slice rest)
{
	static const char *const names[] = {"README", "latest.csv"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (first == names[i][0] && slice_eq(rest, slice_str(names[i] + 1)))
			return true;
	return false;
}

/* Whether the name's byte at i stands for itself. */
static bool stays(struct slice name, size_t i)
{
	if (i == 0 &&
	    (name.p[0] == '.' || is_reserved(name.p[0], (struct slice){name.p + 1, name.len - 1})))
		return false;
	return is_plain((unsigned char)name.p[i]);
}

static size_t encoded_len(struct slice name)
{
	size_t n = name.len;

	for (size_t i = 0; i < name.len; i++)
		n += stays(name, i) ? 0 : 2;
	return n;
}

static void encode(char *out, struct slice name)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (stays(name, i)) {
			*out++ = (char)c;
			continue;
		}
		*out++ = '%';
		*out++ = digits[c >> 4];
		*out++ = digits[c & 15];
	}
}

void name_encode(struct strbuf *out, struct slice name)
{
	size_t n = encoded_len(name);
	char *p = strbuf_reserve(out, n);

	if (!p)
		return;
	encode(p, name);
	out->len += n;
}

int name_encode_to(char buf[NAME_MAX_ENCODED + 1], struct slice name)
{
	size_t n = encoded_len(name);

	if (n == 0)
		return -EINVAL;
	if (n > NAME_MAX_ENCODED)
		return -ENAMETOOLONG;
	encode(buf, name);
	buf[n] = '\0';
	return 0;
}

/* Upper case only: the other spelling is not what name_encode writes. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that starts at *i, and moves *i behind it; -1: not name_encode's spelling of any. */
static int decode_byte(struct slice s, size_t *i)
{
	size_t at = *i;
	int high, low;
	char c;

	if (s.p[at] != '%') {
		*i += 1;
		return stays(s, at) ? (unsigned char)s.p[at] : -1;
	}
	if (s.len - at < 3)
		return -1;
	high = hex_value(s.p[at + 1]);
	low = hex_value(s.p[at + 2]);
	if (high < 0 || low < 0)
		return -1;
	c = (char)(high << 4 | low);
	*i += 3;
	if (at == 0 && (c == '.' || is_reserved(c, (struct slice){s.p + 3, s.len - 3})))
		return (unsigned char)c;
	return is_plain((unsigned char)c) ? -1 : (unsigned char)c;
}

static int decode(char *out, struct slice encoded)
{
	size_t n = 0;

	for (size_t i = 0; i < encoded.len;) {
		int c = decode_byte(encoded, &i);

		if (c < 0)
			return c;
		out[n++] = (char)c;
	}
	return (int)n;
}

int name_decode(struct strbuf *out, struct slice encoded)
{
	char *p;
	int n;

	if (encoded.len == 0 || encoded.len > INT32_MAX)
		return -EINVAL;
	p = strbuf_reserve(out, encoded.len);
	if (!p)
		return 0;
	n = decode(p, encoded);
	out->len += (size_t)MAX(n, 0);
	out->s[out->len] = '\0';
	return n < 0 ? -EINVAL : 0;
}

/* ---- writing keys --------------------------------------------------------------------------- */

/* Names and ids are cut at what KEY_MAX allows for rather than the ULID behind them. */
#define NAME "%.255s"

static struct key printf_like(1, 2) make(const char *fmt, ...)
{
	struct key k;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(k.s, sizeof(k.s), fmt, ap);
	va_end(ap);
	return k;
}

static long long stamp(int64_t ns)
{
	return MAX(ns, 0);
}

struct key key_queue(const char *ulid)
{
	return make(KEY_QUEUE "%.26s", ulid);
}

struct key key_payload(const char *ulid)
{
	return make(KEY_PAYLOAD "%.26s", ulid);
}

struct key key_deadletter(const char *ulid)
{
	return make(KEY_DEADLETTER "%.26s", ulid);
}

struct key key_processing(const char *consumer, int64_t claimed_ns, const char *ulid)
{
	return make(KEY_PROCESSING NAME "/%020lld_%.26s", consumer, stamp(claimed_ns), ulid);
}

struct key key_consumer(const char *consumer)
{
	return make(KEY_CONSUMERS NAME, consumer);
}

struct key key_producer(const char *source)
{
	return make(KEY_PRODUCERS NAME, source);
}

struct key key_producer_owner(const char *source)
{
	return make(KEY_PRODUCERS NAME "/owner", source);
}

struct key key_idle(const char *source)
{
	return make(KEY_IDLE NAME, source);
}

struct key key_processed(const uint8_t sha[SHA256_LEN])
{
	char text[2 * SHA256_LEN + 1];

	hex(sha, SHA256_LEN, text);
	return make(KEY_PROCESSED "%s", text);
}

struct key key_stats(const char *consumer, int worker)
{
	return make(KEY_STATS NAME "/%d", consumer, worker);
}

struct key key_writer(const char *host)
{
	return make(KEY_WRITERS NAME, host);
}

struct key key_gpu(const char *host, const char *gpu)
{
	return make(KEY_GPUS NAME "/" NAME, host, gpu);
}

struct key key_data(const char *host, const char *gpu, int64_t first_ns, const char *ulid)
{
	return make(KEY_DATA NAME "/" NAME "/%020lld_%.26s", host, gpu, stamp(first_ns), ulid);
}

struct key key_body(const char *host, const char *gpu, int64_t first_ns, const char *ulid)
{
	return make(KEY_BODY NAME "/" NAME "/%020lld_%.26s", host, gpu, stamp(first_ns), ulid);
}

struct key key_data_from(const char *host, const char *gpu, uint64_t from_ns)
{
	return make(KEY_DATA NAME "/" NAME "/%020llu", host, gpu, (unsigned long long)from_ns);
}

struct key key_body_from(const char *host, const char *gpu, uint64_t from_ns)
{
	return make(KEY_BODY NAME "/" NAME "/%020llu", host, gpu, (unsigned long long)from_ns);
}

struct key key_under(const char *base, const char *name)
{
	return make("%s" NAME "/", base, name);
}

/* ---- reading keys --------------------------------------------------------------------------- */

static bool skip_prefix(struct slice *s, const char *prefix)
{
	size_t n = strlen(prefix);

	if (s->len < n || memcmp(s->p, prefix, n))
		return false;
	s->p += n;
	s->len -= n;
	return true;
}

/* Takes a component that is not empty, and the slash behind it. */
static bool take_component(struct slice *s, struct slice *ret)
{
	const char *slash = s->len ? memchr(s->p, '/', s->len) : NULL;

	if (!slash || slash == s->p)
		return false;
	*ret = (struct slice){s->p, (size_t)(slash - s->p)};
	s->len -= ret->len + 1;
	s->p = slash + 1;
	return true;
}

static bool parse_ulid(struct slice s, char ret[ULID_LEN + 1])
{
	if (!ulid_valid(s))
		return false;
	memcpy(ret, s.p, ULID_LEN);
	ret[ULID_LEN] = '\0';
	return true;
}

/* {20 digits}_{ULID} */
static bool parse_stamped(struct slice s, int64_t *ret_ns, char ret_ulid[ULID_LEN + 1])
{
	uint64_t ns;

	if (s.len != STAMP_DIGITS + 1 + ULID_LEN || s.p[STAMP_DIGITS] != '_' ||
	    parse_u64((struct slice){s.p, STAMP_DIGITS}, INT64_MAX, &ns) < 0 ||
	    !parse_ulid((struct slice){s.p + STAMP_DIGITS + 1, ULID_LEN}, ret_ulid))
		return false;
	*ret_ns = (int64_t)ns;
	return true;
}

static bool is_component(struct slice s)
{
	return s.len && !memchr(s.p, '/', s.len);
}

int key_parse_data(struct slice key, struct data_key *ret)
{
	struct data_key k;

	if (!skip_prefix(&key, KEY_DATA) || !take_component(&key, &k.host) ||
	    !take_component(&key, &k.gpu) || !parse_stamped(key, &k.first_ns, k.ulid))
		return -EINVAL;
	*ret = k;
	return 0;
}

int key_parse_gpu(struct slice key, struct slice *ret_host, struct slice *ret_gpu)
{
	struct slice host;

	if (!skip_prefix(&key, KEY_GPUS) || !take_component(&key, &host) || !is_component(key))
		return -EINVAL;
	*ret_host = host;
	*ret_gpu = key;
	return 0;
}

int key_parse_producer(struct slice key, struct slice *ret_source)
{
	if (!skip_prefix(&key, KEY_PRODUCERS) || !key.len || memchr(key.p, '/', key.len))
		return -EINVAL;
	*ret_source = key;
	return 0;
}

int key_parse_processing(struct slice key, struct slice *ret_consumer, char ret_ulid[27])
{
	struct slice consumer;
	int64_t ns;

	if (!skip_prefix(&key, KEY_PROCESSING) || !take_component(&key, &consumer) ||
	    !parse_stamped(key, &ns, ret_ulid))
		return -EINVAL;
	*ret_consumer = consumer;
	return 0;
}

int key_parse_ulid(struct slice key, char ret[27])
{
	struct slice consumer;

	if (skip_prefix(&key, KEY_QUEUE) || skip_prefix(&key, KEY_PAYLOAD) ||
	    skip_prefix(&key, KEY_DEADLETTER))
		return parse_ulid(key, ret) ? 0 : -EINVAL;
	return key_parse_processing(key, &consumer, ret);
}

struct key key_prefix_end(const char *prefix)
{
	struct key k = make("%s", prefix);

	k.s[strlen(k.s) - 1]++;
	return k;
}
