#include "publisher.h"

#include "clock.h"
#include "daemon.h"
#include "json.h"
#include "log.h"
#include "process.h"
#include "stats.h"

#include <stdio.h>

enum { SEGMENT_DEFAULT_S = 3600 };

/* ---- ownership ------------------------------------------------------------------------------- */

/* The owner key's value says which process it is, so that the restart after a crash on the same
 * machine need not wait for the lease of its predecessor. */
static int remove_dead_owner(struct publisher *p, const struct etcd_kv *kv, struct err *e)
{
	struct key owner = key_producer_owner(p->record.source);
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, p->conf.etcd, "remove_owner");
	etcd_if_mod(&t, owner.s, kv->mod_rev);
	etcd_then_delete(&t, owner.s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (!r)
		etcd_reply_release(&reply);
	return r;
}

/* > 0: it is gone or was removed, try again. 0: it lives. */
static int look_at_owner(struct publisher *p, bool tell, struct err *e)
{
	struct etcd_reply reply;
	int r = etcd_get(p->conf.etcd, key_producer_owner(p->record.source).s, NULL, 0, 0, 0,
			 &reply, e);

	if (r)
		return etcd_transient(r) ? 0 : r;
	if (!reply.ranges[0].n) {
		r = 1;
	} else if (process_is_dead(reply.ranges[0].kvs[0].value)) {
		r = remove_dead_owner(p, &reply.ranges[0].kvs[0], e);
		r = r ? r : 1;
	} else if (tell) {
		log_info("source %s is being published by another streamer; standing by",
			 p->record.source);
	}
	etcd_reply_release(&reply);
	return r;
}

static int own(struct publisher *p, struct err *e)
{
	struct key owner = key_producer_owner(p->record.source);
	char who[PROCESS_TEXT_MAX];
	bool told = false;
	int r;

	process_describe(p->conf.streamer_id, who);
	for (;;) {
		r = session_open(&p->owner, p->conf.etcd, owner.s, slice_str(who),
				 p->conf.session_ttl_s, &daemon_stop_flag, NULL, NULL, e);
		if (r != -EEXIST)
			return r;
		r = look_at_owner(p, !told, e);
		if (r < 0)
			return r;
		told = true;
		if (r == 0 && daemon_sleep_ms(500))
			return err_set(e, -ECANCELED, "stopped while standing by");
	}
}

/* ---- opening --------------------------------------------------------------------------------- */

static int read_segment(struct publisher *p, struct err *e)
{
	struct etcd_reply reply;
	struct json *doc;
	int r = etcd_get(p->conf.etcd, KEY_CONFIG, NULL, 0, 0, 0, &reply, e);

	if (r)
		return r;
	if (reply.ranges[0].n && !json_parse(reply.ranges[0].kvs[0].value.p,
					     reply.ranges[0].kvs[0].value.len, &doc, NULL)) {
		p->segment_s = json_int(json_get(doc, "segment_s"), 0);
		json_free(doc);
	}
	if (p->segment_s < 1)
		p->segment_s = SEGMENT_DEFAULT_S;
	etcd_reply_release(&reply);
	return 0;
}

/* SEGMENT as stored in etcd; its default while nothing is stored. */
static int learn_segment(struct publisher *p, struct err *e)
{
	struct backoff b = {0};
	int r;

	while ((r = read_segment(p, e)) && etcd_transient(r))
		if (daemon_sleep_ms(backoff_next_ms(&b, 100, 3000)))
			return err_set(e, -ECANCELED, "stopped while etcd was not to be reached");
	return r;
}

int publisher_open(struct publisher *p, const struct publisher_conf *conf,
		   const struct producer *record, struct err *e)
{
	int r;

	*p = (struct publisher){.conf = *conf, .record = *record, .batch_size = conf->batch_size};
	p->out = xcalloc(QUEUE_PUBLISH_MAX, sizeof(*p->out));
	for (size_t i = 0; i < QUEUE_PUBLISH_MAX; i++)
		strbuf_init(&p->out[i].payload, BATCH_PAYLOAD_MAX);
	r = learn_segment(p, e);
	if (!r)
		r = own(p, e);
	while (!r) {
		struct producer now;

		r = queue_open_producer(conf->etcd, &p->record, e);
		if (r != -ESTALE)
			break;
		r = producer_read(conf->etcd, record->source, &now, e);
		if (!r)
			p->record = now;
	}
	if (r)
		publisher_close(p);
	return r;
}

static void clear_out(struct publisher *p)
{
	for (size_t i = 0; i < p->n_out; i++)
		message_release(&p->out[i].m);
	p->n_out = p->out_bytes = 0;
	p->out_rows = 0;
}

void publisher_close(struct publisher *p)
{
	clear_out(p);
	for (size_t i = 0; i < QUEUE_PUBLISH_MAX && p->out; i++)
		strbuf_release(&p->out[i].payload);
	free(p->out);
	grouping_release(&p->grouping);
	session_close(p->owner);
	p->out = NULL;
	p->owner = NULL;
}

void publisher_new_pass(struct publisher *p)
{
	p->record.pass++;
	p->record.offset = 0;
	p->record.line = 1;
	p->record.window_end = p->record.window_done = 0;
	p->record.fingerprint[0] = '\0';
}

/* ---- leases of idempotency keys -------------------------------------------------------------- */

static int grant(struct publisher *p, int64_t ttl_s, int64_t *ret_id, struct err *e)
{
	struct backoff b = {0};
	int64_t id = (int64_t)(random_u64() >> 1) | 1;
	int r;

	for (;;) {
		r = etcd_lease_grant(p->conf.etcd, id, ttl_s, NULL, e);
		if (!r || r == -EEXIST) {
			*ret_id = id;
			return 0;
		}
		if (!etcd_transient(r) && r != -ENOSPC)
			return r;
		if (daemon_sleep_ms(backoff_next_ms(&b, 50, 3000)) && daemon_drain_left_ms() <= 0)
			return -ECANCELED;
	}
}

/* Makes sure that next's newest lease takes n more keys. The third newest is revoked: the record
 * excludes repeats that old. */
static int ensure_lease(struct publisher *p, struct producer *next, size_t n, bool force,
			struct err *e)
{
	int64_t id;
	int r;

	if (!force && next->leases[0] && next->lease_keys + (int64_t)n <= PUBLISHER_LEASE_KEYS)
		return 0;
	r = grant(p, p->conf.dedup_ttl_s, &id, e);
	if (r)
		return r;
	if (next->leases[1] && !force &&
	    etcd_lease_revoke(p->conf.etcd, next->leases[1], NULL) == -ECANCELED)
		return -ECANCELED;
	next->leases[1] = next->leases[0];
	next->leases[0] = id;
	next->lease_keys = 0;
	return 0;
}

/* Unlike those of messages a receipt is all that there is against a repeat: it lives its time. */
static int ensure_receipt_lease(struct publisher *p, bool force, struct err *e)
{
	bool fresh = p->receipt_lease && p->receipt_keys < PUBLISHER_LEASE_KEYS &&
		     mono_ms_since(p->receipt_lease_since) < PUBLISHER_LEASE_S * 1000;
	int r = fresh && !force
			? 0
			: grant(p, p->conf.dedup_ttl_s + PUBLISHER_LEASE_S, &p->receipt_lease, e);

	if (!r && (!fresh || force)) {
		p->receipt_keys = 0;
		p->receipt_lease_since = mono_now();
	}
	p->receipt_keys += !r;
	return r;
}

static int ensure_leases(struct publisher *p, struct producer *next, size_t n, bool force,
			 struct err *e)
{
	int r = n ? ensure_lease(p, next, n, force, e) : 0;

	return r || !p->receipt ? r : ensure_receipt_lease(p, force, e);
}

/* ---- windows --------------------------------------------------------------------------------- */

static void idempotency_key(const struct publisher *p, const struct window *w, size_t group,
			    const struct strbuf *payload, uint8_t ret[SHA256_LEN])
{
	struct sha256_state s;
	char head[160];
	int n = snprintf(head, sizeof(head), "%s %lld %lld %lld %zu ", p->record.source,
			 (long long)p->record.pass, (long long)w->offset, (long long)w->end, group);

	sha256_begin(&s);
	sha256_update(&s, head, (size_t)n);
	sha256_update(&s, payload->s, payload->len);
	sha256_end(&s, ret);
}

void publisher_set_trace(struct publisher *p, const char *id)
{
	snprintf(p->trace_id, sizeof(p->trace_id), "%s", id);
}

static char *trace_id(const struct publisher *p)
{
	uint64_t random[2] = {random_u64(), random_u64()};
	char text[TRACE_ID_LEN + 1];

	hex(random, sizeof(random), text);
	return xstrdup(*p->trace_id ? p->trace_id : text);
}

static int encode_message(struct publisher *p, const struct window *w, size_t group)
{
	struct outgoing *o = &p->out[p->n_out];
	const struct slice host = p->grouping.groups[group].first->host;
	struct message *m = &o->m;

	strbuf_reset(&o->payload);
	window_encode(w, &p->grouping, group, &o->payload);
	if (o->payload.err)
		return o->payload.err;
	o->duplicate = false;
	idempotency_key(p, w, group, &o->payload, o->idempotency);
	*m = (struct message){.rows = p->grouping.groups[group].n,
			      .bytes = (int64_t)o->payload.len,
			      .created_ns = wall_now_ns()};
	if (p->conf.message_ttl_ms)
		m->expires_ns = m->created_ns + p->conf.message_ttl_ms * NS_PER_MS;
	ulid_new(m->ulid);
	m->topic = xstrdup("telemetry");
	m->host = xstrndup(host.p, host.len);
	m->source = xstrdup(p->record.source);
	m->schema = xstrdup(MESSAGE_SCHEMA);
	m->trace_id = trace_id(p);
	sha256(o->payload.s, o->payload.len, m->sha256);
	p->n_out++;
	p->out_bytes += o->payload.len;
	p->out_rows += m->rows;
	return 0;
}

static bool out_full(const struct publisher *p)
{
	return p->n_out >= (size_t)MIN(p->conf.mq_batch_size, QUEUE_PUBLISH_MAX) ||
	       p->out_bytes >= QUEUE_PUBLISH_BYTES;
}

/* One transaction with the first n messages, and with fresh leases where those at hand are gone. */
static int send_with(struct publisher *p, struct producer *next, size_t n, struct rider *also,
		     struct err *e)
{
	bool force = false;
	int r;

	do {
		r = ensure_leases(p, next, n, force, e);
		if (!r && also)
			also->lease = p->receipt_lease;
		if (!r)
			r = queue_publish_with(p->conf.etcd, &p->record, next, p->out, n, also, e);
		force = true;
	} while (r == -ENOENT);
	return r;
}

static int send(struct publisher *p, struct producer *next, size_t n, struct err *e)
{
	return send_with(p, next, n, NULL, e);
}

/* The receipt after the messages that are about to go. */
static struct receipt receipt_after(const struct publisher *p, size_t done, bool complete)
{
	struct receipt r = *p->receipt;

	r.done = (int64_t)done;
	r.complete = complete;
	r.published += p->out_rows;
	r.messages += (int64_t)p->n_out;
	return r;
}

/* The messages that wait, up to group `done`, with the receipt that says so. */
static int send_receipted(struct publisher *p, struct producer *next, size_t done, struct err *e)
{
	struct receipt after = receipt_after(p, done, done == p->grouping.n);
	struct rider also = {.key = key_processed(after.id), .rev = after.mod_rev};
	struct strbuf text;
	int r;

	strbuf_init(&text, RECEIPT_TEXT_MAX);
	receipt_encode(&text, &after);
	also.value = (struct slice){text.s, text.len};
	r = send_with(p, next, p->n_out, &also, e);
	strbuf_release(&text);
	if (r)
		return r;
	after.mod_rev = also.rev;
	*p->receipt = after;
	return 0;
}

/* Shows a changed rate before waiting for its sake; figures.h adds it up. */
static int report_rate(struct publisher *p, struct err *e)
{
	struct producer now = p->record;

	now.throttle_rate = p->conf.rate(p->conf.arg);
	return now.throttle_rate == p->record.throttle_rate ? 0 : send(p, &now, 0, e);
}

/* For /metrics, and for who follows a message. */
static void report(const struct publisher *p, const struct outgoing *o)
{
	log_debug("trace %s: message %s of host %s %s: %lld rows of %s", o->m.trace_id, o->m.ulid,
		  o->m.host, o->duplicate ? "was published before" : "published",
		  (long long)o->m.rows, p->record.name);
	stats_add(o->duplicate ? STAT_MESSAGES_DUPLICATED : STAT_MESSAGES_PUBLISHED, 1);
	if (!o->duplicate)
		stats_add(STAT_ROWS_PUBLISHED, o->m.rows);
}

static int send_out(struct publisher *p, struct producer *next, size_t done, struct err *e)
{
	int r = p->n_out ? p->conf.admit(p->out_rows, p->conf.arg) : 0;

	if (r > 0) {
		next->throttled += (int64_t)p->n_out;
		stats_add(STAT_MESSAGES_THROTTLED, (int64_t)p->n_out);
	}
	if (r >= 0)
		r = p->receipt ? send_receipted(p, next, done, e) : send(p, next, p->n_out, e);
	for (size_t i = 0; i < p->n_out && !r; i++) {
		const struct outgoing *o = &p->out[i];

		report(p, o);
		*(o->duplicate ? &p->stats.duplicates : &p->stats.messages) += 1;
		*(o->duplicate ? &p->stats.duplicate_rows : &p->stats.rows) += o->m.rows;
		if (!o->duplicate)
			p->conf.accepted(&o->m, p->conf.arg);
	}
	clear_out(p);
	return r;
}

/* The record after the window: everything up to its end is accepted. */
static int after_window(const struct publisher *p, const struct window *w, struct producer *ret)
{
	*ret = p->record;
	ret->offset = w->end;
	ret->line = w->end_line;
	ret->window_end = ret->window_done = 0;
	ret->fingerprint[0] = '\0';
	return p->conf.fingerprint ? p->conf.fingerprint(w->end, ret->fingerprint, p->conf.arg) : 0;
}

/* Before any of it is sent; the messages encoded so far wait. */
static int open_window(struct publisher *p, const struct window *w, struct err *e)
{
	struct producer next = p->record;

	next.window_end = w->end;
	next.window_done = 0;
	next.batch_size = p->batch_size;
	next.segment_s = p->segment_s;
	return send(p, &next, 0, e);
}

/* Groups [from, n) of an open or a small window. */
static int publish_groups(struct publisher *p, const struct window *w, size_t from, struct err *e)
{
	size_t n = p->grouping.n;
	struct producer next;
	int r = 0;

	for (size_t i = from; i < n && !r; i++) {
		r = encode_message(p, w, i);
		if (r)
			return err_set(
				e, r, "source %s: a message of %u rows takes more than %d bytes",
				p->record.source, p->grouping.groups[i].n, BATCH_PAYLOAD_MAX);
		if (i + 1 < n && !out_full(p))
			continue;
		if (i + 1 < n && !p->record.window_end && p->conf.fingerprint)
			r = open_window(p, w, e);
		if (!r)
			r = report_rate(p, e);
		next = p->record;
		if (next.window_end)
			next.window_done = (int64_t)i + 1;
		if (!r && i + 1 == n)
			r = after_window(p, w, &next);
		if (!r)
			r = send_out(p, &next, i + 1, e);
	}
	return r;
}

/* A window of which nothing is left, or which never had rows with values: only the offset moves. */
static int skip_window(struct publisher *p, const struct window *w, struct err *e)
{
	struct producer next;
	int r = after_window(p, w, &next);

	return r ? r : send(p, &next, 0, e);
}

void publisher_note_invalid(struct publisher *p, int64_t rows)
{
	p->record.csv_read_errors += rows;
}

static int publish_rest(struct publisher *p, const struct window *w, int64_t batch_size,
			int64_t segment_s, size_t done, struct err *e)
{
	window_group(w, batch_size, segment_s * NS_PER_SEC, &p->grouping);
	for (size_t i = 0; i < MIN(done, p->grouping.n); i++) {
		p->stats.duplicates++;
		p->record.duplicated++;
		stats_add(STAT_MESSAGES_DUPLICATED, 1);
		p->stats.duplicate_rows += p->grouping.groups[i].n;
	}
	return done >= p->grouping.n ? skip_window(p, w, e) : publish_groups(p, w, done, e);
}

int publisher_window(struct publisher *p, const struct window *w, struct err *e)
{
	const struct producer *now = &p->record;

	if (!w->n)
		return skip_window(p, w, e);
	return now->window_end ? publish_rest(p, w, now->batch_size, now->segment_s,
					      (size_t)now->window_done, e)
			       : publish_rest(p, w, p->batch_size, p->segment_s, 0, e);
}

int publisher_request(struct publisher *p, const struct window *w, struct receipt *receipt,
		      struct err *e)
{
	int r;

	p->receipt = receipt;
	r = publish_rest(p, w, receipt->batch_size, receipt->segment_s, (size_t)receipt->done, e);
	p->receipt = NULL;
	return r;
}
