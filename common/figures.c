#include "figures.h"

#include "clock.h"
#include "json.h"
#include "keys.h"
#include "message.h"

#include <stdio.h>

#define OLDEST_LOOK 64 /* claims that are looked at to find the oldest */

/* Fields of the JSON values, and where their sums go. */
struct field {
	const char *name;
	size_t offset;
};

static const struct field of_producers[] = {
	{"messages", offsetof(struct figures, messages_published)},
	{"rows", offsetof(struct figures, rows_published)},
	{"duplicate_rows", offsetof(struct figures, rows_duplicate)},
};

static const struct field of_stats[] = {
	{"messages_processed", offsetof(struct figures, messages_processed)},
	{"messages_dead", offsetof(struct figures, messages_dead)},
	{"messages_foreign", offsetof(struct figures, messages_foreign)},
	{"rows_stored", offsetof(struct figures, rows_stored)},
	{"rows_dead", offsetof(struct figures, rows_dead)},
	{"latency_ms_sum", offsetof(struct figures, latency_ms_sum)},
};

static void add_up(struct figures *f, const struct json *doc, const struct field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*(int64_t *)((char *)f + fields[i].offset) +=
			json_int(json_get(doc, fields[i].name), 0);
}

/* Decimal text, compared as a number; what is none is no rate. */
static void lowest_rate(struct figures *f, struct slice rate)
{
	char text[sizeof(f->throttle_rate)], *end;

	snprintf(text, sizeof(text), "%.*s", (int)MIN(rate.len, sizeof(text) - 1), rate.p);
	if (rate.len && strtod(text, &end) < strtod(f->throttle_rate, NULL) && !*end)
		memcpy(f->throttle_rate, text, sizeof(text));
}

static void add_value(struct figures *f, const struct etcd_kv *kv, const struct field *fields,
		      size_t n)
{
	struct json *doc;

	if (json_parse(kv->value.p, kv->value.len, &doc, NULL))
		return;
	add_up(f, doc, fields, n);
	lowest_rate(f, json_str(json_get(doc, "throttle_rate")));
	json_free(doc);
}

/* /producers/{source}, but not what lies below it. */
static bool is_producer(struct slice key)
{
	size_t n = sizeof(KEY_PRODUCERS) - 1;

	return key.len > n && !memchr(key.p + n, '/', key.len - n);
}

static void add_producers(struct figures *f, const struct etcd_range *range)
{
	for (size_t i = 0; i < range->n; i++)
		if (is_producer(range->kvs[i].key))
			add_value(f, &range->kvs[i], of_producers, ARRAY_SIZE(of_producers));
}

static void add_stats(struct figures *f, const struct etcd_range *range)
{
	for (size_t i = 0; i < range->n; i++)
		add_value(f, &range->kvs[i], of_stats, ARRAY_SIZE(of_stats));
}

static int read_counts(struct etcd *c, struct figures *f, struct err *e)
{
	struct etcd_reply reply = {0};
	struct strbuf producers_end, stats_end;
	struct etcd_txn txn;
	int r;

	strbuf_init(&producers_end, KEY_MAX);
	strbuf_init(&stats_end, KEY_MAX);
	etcd_prefix_end(KEY_PRODUCERS, &producers_end);
	etcd_prefix_end(KEY_STATS, &stats_end);
	etcd_txn_init(&txn, c, "figures");
	etcd_then_get(&txn, KEY_PRODUCERS, producers_end.s);
	etcd_then_get(&txn, KEY_STATS, stats_end.s);
	r = etcd_txn_send(&txn, &reply, e);
	if (!r && reply.n_ranges == 2) {
		add_producers(f, &reply.ranges[0]);
		add_stats(f, &reply.ranges[1]);
	}
	etcd_reply_release(&reply);
	etcd_txn_release(&txn);
	strbuf_release(&producers_end);
	strbuf_release(&stats_end);
	return r;
}

static int64_t created_ns(const struct etcd_kv *kv)
{
	struct message m;
	int64_t ns;
	char ulid[27];

	if (key_parse_ulid(kv->key, ulid) || message_decode(ulid, kv->value, &m, NULL))
		return INT64_MAX;
	ns = m.created_ns;
	message_release(&m);
	return ns;
}

/* Creation of the oldest message among the first n keys of a prefix; INT64_MAX: none. */
static int64_t oldest_in(struct etcd *c, const char *prefix, int64_t n)
{
	struct etcd_reply reply = {0};
	int64_t oldest = INT64_MAX;
	struct strbuf end;

	strbuf_init(&end, KEY_MAX);
	etcd_prefix_end(prefix, &end);
	if (etcd_get(c, prefix, end.s, n, 0, 0, &reply, NULL) == 0)
		for (size_t i = 0; i < reply.ranges[0].n; i++)
			oldest = MIN(oldest, created_ns(&reply.ranges[0].kvs[i]));
	etcd_reply_release(&reply);
	strbuf_release(&end);
	return oldest;
}

static int64_t lag_ms(struct etcd *c)
{
	/* ULIDs sort by time, so the first of the queue is its oldest. */
	int64_t oldest = MIN(oldest_in(c, KEY_QUEUE, 1), oldest_in(c, KEY_PROCESSING, OLDEST_LOOK));

	return oldest == INT64_MAX ? 0 : MAX(wall_now_ns() - oldest, 0) / NS_PER_MS;
}

int figures_read(struct etcd *c, struct figures *ret, struct err *e)
{
	struct figures f = {.throttle_rate = "1"};
	int r = read_counts(c, &f, e);

	if (r)
		return r;
	f.queue_depth =
		f.messages_published + f.messages_foreign - f.messages_processed - f.messages_dead;
	if (f.queue_depth > 0)
		f.lag_ms = lag_ms(c);
	*ret = f;
	return 0;
}

void figures_render(struct strbuf *out, const struct figures *f)
{
	int64_t latency = f->messages_processed ? f->latency_ms_sum / f->messages_processed : 0;
	const struct {
		const char *name;
		int64_t value;
	} lines[] = {
		{"queue_depth", f->queue_depth},
		{"messages_published", f->messages_published},
		{"messages_processed", f->messages_processed},
		{"messages_dead", f->messages_dead},
		{"messages_foreign", f->messages_foreign},
		{"rows_published", f->rows_published},
		{"rows_duplicate", f->rows_duplicate},
		{"rows_stored", f->rows_stored},
		{"rows_dead", f->rows_dead},
		{"processing_latency_ms", latency},
		{"processing_lag_ms", f->lag_ms},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		strbuf_addf(out, "%s=%lld\n", lines[i].name, (long long)lines[i].value);
	strbuf_addf(out, "throttle_rate=%s\n", f->throttle_rate);
}
