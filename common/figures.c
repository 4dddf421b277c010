#include "figures.h"

#include "clock.h"
#include "json.h"
#include "keys.h"
#include "message.h"
#include "producer.h"
#include "stats.h"
#include "tally.h"

#include <stdio.h>

#define OLDEST_LOOK 64 /* claims that are looked at to find the oldest */

/* A source's owner key follows it directly, and says that a streamer works on it. */
static bool is_worked_on(const struct etcd_range *range, size_t i)
{
	struct slice source = range->kvs[i].key, next;

	if (i + 1 == range->n)
		return false;
	next = range->kvs[i + 1].key;
	return next.len > source.len && next.p[source.len] == '/' &&
	       !memcmp(next.p, source.p, source.len);
}

/* Decimal text, compared as a number; what is none is no rate. */
static void lowest_rate(struct figures *f, struct slice rate)
{
	char text[sizeof(f->throttle_rate)], *end;

	snprintf(text, sizeof(text), "%.*s", (int)MIN(rate.len, sizeof(text) - 1), rate.p);
	if (rate.len && strtod(text, &end) < strtod(f->throttle_rate, NULL) && !*end)
		memcpy(f->throttle_rate, text, sizeof(text));
}

static void add_producers(struct figures *f, const struct etcd_range *range,
			  struct published *sources)
{
	for (size_t i = 0; i < range->n; i++) {
		const struct etcd_kv *kv = &range->kvs[i];
		char source[SOURCE_ID_MAX];
		struct json *doc;

		if (!producer_source(kv->key, source) ||
		    json_parse(kv->value.p, kv->value.len, &doc, NULL))
			continue;
		published_add(sources, source, producer_sequence(kv));
		f->messages_published += json_int(json_get(doc, "messages"), 0);
		f->rows_published += json_int(json_get(doc, "rows"), 0);
		f->messages_duplicated += json_int(json_get(doc, "duplicated"), 0);
		f->messages_throttled += json_int(json_get(doc, "throttled"), 0);
		f->publish_errors += json_int(json_get(doc, "publish_errors"), 0);
		f->csv_read_errors += json_int(json_get(doc, "csv_read_errors"), 0);
		if (is_worked_on(range, i))
			lowest_rate(f, json_str(json_get(doc, "throttle_rate")));
		json_free(doc);
	}
}

/* What cannot be read counts as nothing. */
static void add_stats(struct figures *f, const struct etcd_range *range)
{
	struct tally t = {0};

	for (size_t i = 0; i < range->n; i++)
		if (tally_add(&t, range->kvs[i].value, NULL))
			continue;
	f->messages_published += t.messages_ended;
	f->rows_published += t.rows_ended;
	f->messages_processed = t.messages_processed;
	f->messages_foreign = t.messages_foreign;
	f->messages_dropped = t.messages_dropped;
	f->rows_stored = t.rows_stored;
	f->latency_ms_sum = t.latency_ms_sum;
	f->messages_consumed = t.messages_consumed;
	f->messages_invalid = t.messages_invalid;
	f->batches_processed = t.batches_processed;
	f->database_errors = t.database_errors;
	f->messages_duplicated += t.messages_duplicated;
	f->messages_throttled += t.messages_throttled;
	f->publish_errors += t.publish_errors;
	f->csv_read_errors += t.csv_read_errors;
}

static void add_dead(struct figures *f, const struct etcd_range *range,
		     const struct published *sources)
{
	for (size_t i = 0; i < range->n; i++) {
		struct message m;
		char ulid[27];

		if (key_parse_ulid(range->kvs[i].key, ulid) ||
		    message_decode(ulid, range->kvs[i].value, &m, NULL))
			continue;
		f->messages_dead++;
		f->messages_dead_foreign += !published_has(sources, &m);
		f->rows_dead += m.rows;
		message_release(&m);
	}
}

static int read_counts(struct etcd *c, struct figures *f, struct err *e)
{
	struct etcd_reply reply = {0};
	struct published sources = {0};
	struct etcd_txn txn;
	int r;

	etcd_txn_init(&txn, c, "figures");
	etcd_then_get(&txn, KEY_PRODUCERS, key_prefix_end(KEY_PRODUCERS).s);
	etcd_then_get(&txn, KEY_STATS, key_prefix_end(KEY_STATS).s);
	etcd_then_get(&txn, KEY_DEADLETTER, key_prefix_end(KEY_DEADLETTER).s);
	r = etcd_txn_send(&txn, &reply, e);
	if (!r && reply.n_ranges == 3) {
		add_producers(f, &reply.ranges[0], &sources);
		add_stats(f, &reply.ranges[1]);
		add_dead(f, &reply.ranges[2], &sources);
	}
	etcd_reply_release(&reply);
	etcd_txn_release(&txn);
	published_release(&sources);
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

	if (etcd_get(c, prefix, key_prefix_end(prefix).s, n, 0, 0, &reply, NULL) == 0)
		for (size_t i = 0; i < reply.ranges[0].n; i++)
			oldest = MIN(oldest, created_ns(&reply.ranges[0].kvs[i]));
	etcd_reply_release(&reply);
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
	f.queue_depth = f.messages_published + f.messages_foreign - f.messages_processed -
			(f.messages_dead - f.messages_dead_foreign) - f.messages_dropped;
	if (f.queue_depth > 0)
		f.lag_ms = lag_ms(c);
	*ret = f;
	return 0;
}

/* How each is named in .meta/status, and what it is for /metrics; STATS: it is not there. */
static const struct {
	const char *name;
	size_t offset;
	enum stat_id stat;
} lines[] = {
	{"queue_depth", offsetof(struct figures, queue_depth), STAT_ALL_QUEUE_DEPTH},
	{"messages_published", offsetof(struct figures, messages_published), STAT_ALL_PUBLISHED},
	{"messages_consumed", offsetof(struct figures, messages_consumed), STAT_ALL_CONSUMED},
	{"messages_processed", offsetof(struct figures, messages_processed), STAT_ALL_PROCESSED},
	{"messages_duplicated", offsetof(struct figures, messages_duplicated), STAT_ALL_DUPLICATED},
	{"messages_invalid", offsetof(struct figures, messages_invalid), STAT_ALL_INVALID},
	{"messages_throttled", offsetof(struct figures, messages_throttled), STAT_ALL_THROTTLED},
	{"messages_dead", offsetof(struct figures, messages_dead), STAT_ALL_DEAD},
	{"messages_dropped", offsetof(struct figures, messages_dropped), STAT_ALL_DROPPED},
	{"messages_foreign", offsetof(struct figures, messages_foreign), STATS},
	{"batches_processed", offsetof(struct figures, batches_processed), STAT_ALL_BATCHES},
	{"database_errors", offsetof(struct figures, database_errors), STAT_ALL_DATABASE_ERRORS},
	{"publish_errors", offsetof(struct figures, publish_errors), STAT_ALL_PUBLISH_ERRORS},
	{"csv_read_errors", offsetof(struct figures, csv_read_errors), STAT_ALL_CSV_READ_ERRORS},
	{"rows_published", offsetof(struct figures, rows_published), STAT_ALL_ROWS_PUBLISHED},
	{"rows_stored", offsetof(struct figures, rows_stored), STAT_ALL_ROWS_STORED},
	{"rows_dead", offsetof(struct figures, rows_dead), STATS},
	{"processing_lag_ms", offsetof(struct figures, lag_ms), STAT_ALL_LAG},
};

static int64_t value_of(const struct figures *f, size_t line)
{
	return *(const int64_t *)((const char *)f + lines[line].offset);
}

void figures_report(const struct figures *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (lines[i].stat != STATS)
			stats_set(lines[i].stat, MAX(value_of(f, i), 0));
	stats_set(STAT_ALL_THROTTLE_RATE, (int64_t)(strtod(f->throttle_rate, NULL) * 1e6 + 0.5));
}

void figures_render(struct strbuf *out, const struct figures *f)
{
	int64_t latency = f->messages_processed ? f->latency_ms_sum / f->messages_processed : 0;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		strbuf_addf(out, "%s=%lld\n", lines[i].name, (long long)value_of(f, i));
	strbuf_addf(out, "processing_latency_ms=%lld\nthrottle_rate=%s\n", (long long)latency,
		    f->throttle_rate);
}
