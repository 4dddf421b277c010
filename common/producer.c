#include "producer.h"

#include "json.h"
#include "keys.h"
#include "parse.h"

#include <stdio.h>

void producer_encode(struct strbuf *out, const struct producer *p)
{
	strbuf_adds(out, "{\"v\":1,\"name\":");
	strbuf_add_json(out, p->name, strlen(p->name));
	strbuf_addf(out,
		    ",\"epoch\":%lld,\"sequence\":%lld,\"pass\":%lld,\"offset\":%lld,\"line\":%lld"
		    ",\"window_end\":%lld,\"window_done\":%lld,\"batch_size\":%lld"
		    ",\"segment_s\":%lld,\"prefix_len\":%lld,\"fingerprint\":",
		    (long long)p->epoch, (long long)p->sequence, (long long)p->pass,
		    (long long)p->offset, (long long)p->line, (long long)p->window_end,
		    (long long)p->window_done, (long long)p->batch_size, (long long)p->segment_s,
		    (long long)p->prefix_len);
	strbuf_add_json(out, p->fingerprint, strlen(p->fingerprint));
	strbuf_addf(out,
		    ",\"messages\":%lld,\"rows\":%lld,\"leases\":[%lld,%lld],\"lease_keys\":%lld"
		    ",\"throttle_rate\":\"%g\",\"duplicated\":%lld,\"throttled\":%lld"
		    ",\"publish_errors\":%lld,\"csv_read_errors\":%lld,\"updated_at\":%lld}",
		    (long long)p->messages, (long long)p->rows, (long long)p->leases[0],
		    (long long)p->leases[1], (long long)p->lease_keys, p->throttle_rate,
		    (long long)p->duplicated, (long long)p->throttled, (long long)p->publish_errors,
		    (long long)p->csv_read_errors, (long long)p->updated_ns);
}

static void copy_str(char *to, size_t size, const struct json *doc, const char *name)
{
	struct slice s = json_str(json_get(doc, name));

	snprintf(to, size, "%.*s", (int)MIN(s.len, size - 1), s.p);
}

/* An open window says how it was cut, or nobody can cut it so again. */
static bool is_damaged(const struct producer *p)
{
	if (p->epoch < 0 || p->sequence < 0 || p->pass < 0 || p->offset < 0 || p->window_done < 0)
		return true;
	return p->window_end && (p->window_end < p->offset || p->batch_size < 1 ||
				 p->segment_s < 1 || p->segment_s > 86400);
}

/* 1 where it does not say. */
static double rate_of(struct slice text)
{
	double rate;

	return parse_fraction(text, 0, 1, &rate) ? 1 : rate;
}

int producer_decode(const char *source, const struct etcd_kv *kv, struct producer *ret,
		    struct err *e)
{
	struct producer p = {.mod_rev = kv->mod_rev};
	struct json *doc;
	int r = json_parse(kv->value.p, kv->value.len, &doc, e);

	if (r)
		return err_prefix(e, r, "producer %s", source);
	snprintf(p.source, sizeof(p.source), "%s", source);
	copy_str(p.name, sizeof(p.name), doc, "name");
	copy_str(p.fingerprint, sizeof(p.fingerprint), doc, "fingerprint");
	p.epoch = json_int(json_get(doc, "epoch"), -1);
	p.sequence = json_int(json_get(doc, "sequence"), -1);
	p.pass = json_int(json_get(doc, "pass"), -1);
	p.offset = json_int(json_get(doc, "offset"), -1);
	p.line = json_int(json_get(doc, "line"), 1);
	p.window_end = json_int(json_get(doc, "window_end"), 0);
	p.window_done = json_int(json_get(doc, "window_done"), 0);
	p.batch_size = json_int(json_get(doc, "batch_size"), 0);
	p.segment_s = json_int(json_get(doc, "segment_s"), 0);
	p.prefix_len = json_int(json_get(doc, "prefix_len"), 0);
	p.messages = json_int(json_get(doc, "messages"), 0);
	p.rows = json_int(json_get(doc, "rows"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(p.leases); i++)
		p.leases[i] = json_int(json_at(json_get(doc, "leases"), i), 0);
	p.lease_keys = json_int(json_get(doc, "lease_keys"), 0);
	p.throttle_rate = rate_of(json_str(json_get(doc, "throttle_rate")));
	p.duplicated = json_int(json_get(doc, "duplicated"), 0);
	p.throttled = json_int(json_get(doc, "throttled"), 0);
	p.publish_errors = json_int(json_get(doc, "publish_errors"), 0);
	p.csv_read_errors = json_int(json_get(doc, "csv_read_errors"), 0);
	p.updated_ns = json_int(json_get(doc, "updated_at"), 0);
	if (json_int(json_get(doc, "v"), 0) != 1 || is_damaged(&p))
		r = err_set(e, -EBADMSG, "producer %s: the record is damaged", source);
	json_free(doc);
	if (!r)
		*ret = p;
	return r;
}

int producer_read(struct etcd *c, const char *source, struct producer *ret, struct err *e)
{
	struct etcd_reply reply;
	int r = etcd_get(c, key_producer(source).s, NULL, 0, 0, 0, &reply, e);

	if (r)
		return r;
	if (reply.ranges[0].n)
		r = producer_decode(source, &reply.ranges[0].kvs[0], ret, e);
	else
		r = err_set(e, -ENOENT, "producer %s: no record", source);
	etcd_reply_release(&reply);
	return r;
}

/* ---- whose a message is ---------------------------------------------------------------------- */

int64_t producer_sequence(const struct etcd_kv *kv)
{
	int64_t sequence = INT64_MAX - 1;
	struct json *doc;

	if (!kv)
		return -1;
	if (!json_parse(kv->value.p, kv->value.len, &doc, NULL)) {
		sequence = json_int(json_get(doc, "sequence"), sequence);
		json_free(doc);
	}
	return sequence;
}

bool producer_has_published(int64_t sequence, const struct message *m)
{
	return m->sequence > 0 && m->sequence <= sequence;
}

void published_add(struct published *s, const char *source, int64_t sequence)
{
	map_put(&s->sequences, source, strlen(source), (void *)(uintptr_t)(sequence + 1));
}

bool published_has(const struct published *s, const struct message *m)
{
	uintptr_t next = (uintptr_t)map_get_str(&s->sequences, m->source);

	return next && producer_has_published((int64_t)(next - 1), m);
}

void published_release(struct published *s)
{
	map_release(&s->sequences);
}

bool producer_source(struct slice key, char ret[SOURCE_ID_MAX])
{
	struct slice source;

	if (key_parse_producer(key, &source) || source.len >= SOURCE_ID_MAX)
		return false;
	memcpy(ret, source.p, source.len);
	ret[source.len] = '\0';
	return true;
}
