#include "dead.h"

#include "keys.h"
#include "message.h"
#include "migration.h"
#include "producer.h"
#include "render.h"
#include "tally.h"

#include <stdio.h>

enum { MESSAGE_TEXT_MAX = 64 * 1024, FAULTS_MAX = 100 };

#define DAY_NS (24 * 3600 * NS_PER_SEC)

/* ---- list ------------------------------------------------------------------------------------ */

static int print_letter(const struct etcd_kv *kv, void *arg)
{
	char ulid[ULID_LEN + 1], created[STAMP_MAX] = "";
	struct message m;
	struct err e;

	if (key_parse_ulid(kv->key, ulid))
		return 0;
	if (message_decode(ulid, kv->value, &m, &e)) {
		printf("%s: %s\n", ulid, e.text);
		return 0;
	}
	if (m.created_ns)
		created[stamp_format((struct stamp){m.created_ns / NS_PER_SEC * NS_PER_SEC, 0},
				     created)] = 0;
	printf("%s host=%s rows=%lld attempts=%lld created=%s reason=%s\n", ulid, m.host,
	       (long long)m.rows, (long long)m.attempt, created, m.reason ? m.reason : "");
	message_release(&m);
	return 0;
}

int dead_list(struct etcd *c, struct err *e)
{
	return etcd_each(c, KEY_DEADLETTER, key_prefix_end(KEY_DEADLETTER).s, 0, 0, print_letter,
			 NULL, NULL, e);
}

/* ---- show ------------------------------------------------------------------------------------ */

static void print_rows(const struct batch *b)
{
	struct strbuf line;

	strbuf_init(&line, BATCH_RAW_MAX);
	for (size_t i = 0; i < b->rows.n; i++) {
		const struct row *row = &b->rows.rows[i];
		const struct batch_series *s = &b->series[row->series];
		struct series series = {xstrndup(s->metric.p, s->metric.len),
					xstrndup(s->labels.p, s->labels.len), NULL};

		strbuf_reset(&line);
		render_csv_field(&line, b->host);
		strbuf_addc(&line, ',');
		render_csv_field(&line, s->gpu);
		strbuf_addc(&line, ',');
		render_row(&line, row->time, row->value, &series,
			   &b->attributions[row->attribution]);
		fwrite(line.s, 1, line.len, stdout);
		free(series.metric);
		free(series.labels);
	}
	strbuf_release(&line);
}

static int print_batch(struct slice payload, bool first, struct err *e)
{
	struct batch b = {0};
	int r = batch_decode(payload.p, payload.len, &b, e);

	if (!r && first)
		printf("hostname,gpu_id,%s", ROW_FILE_HEADER);
	if (!r)
		print_rows(&b);
	batch_release(&b);
	return r;
}

/* At most FAULTS_MAX of them. */
static void print_fault(const char *text, void *arg)
{
	int *n = arg;

	if (++*n <= FAULTS_MAX)
		printf("# %s\n", text);
	else if (*n == FAULTS_MAX + 1)
		printf("# ...\n");
}

/* The rows of an older schema, or everything that is wrong with them. */
static int print_older(const struct message *m, struct slice payload, struct err *e)
{
	int n = 0;
	struct migration_faults faults = {print_fault, &n};
	struct migration g = {0};
	int r = migration_open(&g, m, payload, DAY_NS, &faults, e);

	for (size_t i = 0; i < migration_count(&g) && !r; i++) {
		struct outgoing o;

		r = migration_outgoing(&g, i, m, &o, e);
		if (!r)
			r = print_batch((struct slice){o.payload.s, o.payload.len}, !i, e);
		migration_outgoing_release(&o);
	}
	migration_release(&g);
	return n ? 0 : r;
}

static void print_payload(const struct etcd_kv *letter, struct slice payload, const char *ulid)
{
	struct message m = {0};
	struct err e;
	int r = message_decode(ulid, letter->value, &m, &e);

	if (!r)
		r = migration_is_older(m.schema) ? print_older(&m, payload, &e)
						 : print_batch(payload, true, &e);
	if (r)
		printf("# %s (%zu bytes)\n", e.text, payload.len);
	message_release(&m);
}

static bool check_id(const char *ulid, struct err *e)
{
	if (ulid_valid(slice_str(ulid)))
		return true;
	err_set(e, -EINVAL, "\"%s\" is no message ID (26 characters, see --dead-letters list)",
		ulid);
	return false;
}

static int not_there(const char *ulid, struct err *e)
{
	return err_set(e, -ENOENT, "no dead letter has the ID %s", ulid);
}

int dead_show(struct etcd *c, const char *ulid, struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	if (!check_id(ulid, e))
		return -EINVAL;
	etcd_txn_init(&t, c, "show");
	etcd_then_get(&t, key_deadletter(ulid).s, NULL);
	etcd_then_get(&t, key_payload(ulid).s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	if (reply.ranges[0].n) {
		printf("%.*s\n", (int)reply.ranges[0].kvs[0].value.len,
		       reply.ranges[0].kvs[0].value.p);
		if (reply.ranges[1].n)
			print_payload(&reply.ranges[0].kvs[0], reply.ranges[1].kvs[0].value, ulid);
	} else {
		r = not_there(ulid, e);
	}
	etcd_reply_release(&reply);
	return r;
}

/* ---- replay and drop ------------------------------------------------------------------------- */

static int replay_one(struct etcd *c, struct message *m, int64_t mod_rev, bool *ret_done,
		      struct err *e)
{
	struct etcd_reply reply;
	struct strbuf text;
	struct etcd_txn t;
	bool resent;
	int r;

	m->attempt = 0;
	m->expires_ns = 0; /* someone wants it stored, however old it is */
	free(m->reason);
	m->reason = NULL;
	strbuf_init(&text, MESSAGE_TEXT_MAX);
	message_encode(&text, m);
	etcd_txn_init(&t, c, "replay");
	etcd_if_mod(&t, key_deadletter(m->ulid).s, mod_rev);
	etcd_then_delete(&t, key_deadletter(m->ulid).s, NULL);
	etcd_then_put(&t, key_queue(m->ulid).s, (struct slice){text.s, text.len}, 0);
	r = etcd_txn_settle(&t, &reply, &resent, e);
	etcd_txn_release(&t);
	strbuf_release(&text);
	if (r)
		return r;
	*ret_done = reply.succeeded || resent;
	etcd_reply_release(&reply);
	return 0;
}

struct replay {
	struct etcd *client;
	bool all; /* what cannot be tried again is passed over */
	int64_t n;
	struct err *e;
};

static int replay_letter(const struct etcd_kv *kv, void *arg)
{
	struct replay *p = arg;
	char ulid[ULID_LEN + 1];
	struct message m;
	bool done;
	int r;

	if (key_parse_ulid(kv->key, ulid))
		return 0;
	r = message_decode(ulid, kv->value, &m, p->e);
	if (r)
		return r;
	if (m.raw) {
		message_release(&m);
		return p->all ? 0
			      : err_set(p->e, -EINVAL,
					"%s was no message: there is nothing to try again", ulid);
	}
	r = replay_one(p->client, &m, kv->mod_rev, &done, p->e);
	p->n += !r && done;
	message_release(&m);
	return r;
}

int dead_replay(struct etcd *c, const char *ulid, int64_t *ret_n, struct err *e)
{
	struct replay p = {.client = c, .all = !ulid, .e = e};
	struct etcd_reply reply;
	int r;

	if (!ulid) {
		r = etcd_each(c, KEY_DEADLETTER, key_prefix_end(KEY_DEADLETTER).s, 0, 0,
			      replay_letter, &p, NULL, e);
		*ret_n = p.n;
		return r;
	}
	if (!check_id(ulid, e))
		return -EINVAL;
	r = etcd_get(c, key_deadletter(ulid).s, NULL, 0, 0, 0, &reply, e);
	if (r)
		return r;
	r = reply.ranges[0].n ? replay_letter(&reply.ranges[0].kvs[0], &p) : not_there(ulid, e);
	etcd_reply_release(&reply);
	*ret_n = p.n;
	return r;
}

static int read_letter(struct etcd *c, const char *ulid, struct message *ret, int64_t *ret_rev,
		       struct err *e)
{
	struct etcd_reply reply;
	int r = etcd_get(c, key_deadletter(ulid).s, NULL, 0, 0, 0, &reply, e);

	if (r)
		return r;
	if (reply.ranges[0].n) {
		*ret_rev = reply.ranges[0].kvs[0].mod_rev;
		r = message_decode(ulid, reply.ranges[0].kvs[0].value, ret, e);
	} else {
		r = not_there(ulid, e);
	}
	etcd_reply_release(&reply);
	return r;
}

/* The total with m among the dropped. Only what a producer has published counts; its record stays
 * as long as a dead letter of it does (expiry.h). */
static int count_dropped(struct etcd *c, const struct message *m, struct tally *total,
			 int64_t *ret_rev, struct err *e)
{
	bool is_named = m->source[0] && strlen(m->source) < SOURCE_ID_MAX;
	const struct etcd_range *stored, *record;
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, c, "drop_read");
	etcd_then_get(&t, KEY_STATS_TOTAL, NULL);
	etcd_then_get(&t, key_producer(is_named ? m->source : "-").s, NULL);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	stored = &reply.ranges[0];
	record = &reply.ranges[1];
	*ret_rev = stored->n ? stored->kvs[0].mod_rev : 0;
	r = stored->n ? tally_add(total, stored->kvs[0].value, e) : 0;
	if (producer_has_published(producer_sequence(record->n ? record->kvs : NULL), m)) {
		total->messages_dropped++;
		total->rows_dropped += m->rows;
	}
	etcd_reply_release(&reply);
	return r;
}

/* -EAGAIN: something changed meanwhile. */
static int drop_now(struct etcd *c, const char *ulid, int64_t rev, const struct tally *total,
		    int64_t total_rev, struct err *e)
{
	struct etcd_reply reply;
	struct strbuf text;
	struct etcd_txn t;
	int r;

	strbuf_init(&text, 4096);
	tally_encode(&text, total);
	etcd_txn_init(&t, c, "drop");
	etcd_if_mod(&t, key_deadletter(ulid).s, rev);
	etcd_if_mod(&t, KEY_STATS_TOTAL, total_rev);
	etcd_then_delete(&t, key_deadletter(ulid).s, NULL);
	etcd_then_delete(&t, key_payload(ulid).s, NULL);
	etcd_then_put(&t, KEY_STATS_TOTAL, (struct slice){text.s, text.len}, 0);
	strbuf_release(&text);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	r = reply.succeeded ? 0 : -EAGAIN;
	etcd_reply_release(&reply);
	return r;
}

/* The count of what was dropped moves with it, so that the balance holds. */
static int drop_once(struct etcd *c, const char *ulid, struct err *e)
{
	struct tally total = {0};
	int64_t rev = 0, total_rev = 0;
	struct message m;
	int r = read_letter(c, ulid, &m, &rev, e);

	if (r)
		return r;
	r = count_dropped(c, &m, &total, &total_rev, e);
	message_release(&m);
	return r ? r : drop_now(c, ulid, rev, &total, total_rev, e);
}

int dead_drop(struct etcd *c, const char *ulid, struct err *e)
{
	bool tried = false;
	int r;

	if (!check_id(ulid, e))
		return -EINVAL;
	while ((r = drop_once(c, ulid, e)) == -EAGAIN)
		tried = true;
	/* Refused, then not there: either our own earlier try, or somebody else's. It is gone. */
	return r == -ENOENT && tried ? 0 : r;
}
