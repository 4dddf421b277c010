#include "audit.h"

#include "chunk.h"
#include "keys.h"
#include "message.h"
#include "producer.h"
#include "tally.h"

#include <stdio.h>

struct place {
	int64_t messages, rows;
	int64_t foreign_messages, foreign_rows; /* not in the above */
};

struct audit {
	struct place published, queued, processing, dead;
	struct published published_by; /* sources, to tell foreign messages */
	struct tally tally;
	struct place *into;    /* where pointers are counted at the moment */
	int64_t unreadable;    /* values that cannot be decoded */
	int64_t readable_rows; /* in chunks */
	struct chunk chunk;
};

static int count_producer(const struct etcd_kv *kv, void *arg)
{
	struct audit *a = arg;
	char source[SOURCE_ID_MAX];
	struct producer p;

	if (!producer_source(kv->key, source))
		return 0;
	published_add(&a->published_by, source, producer_sequence(kv));
	if (producer_decode(source, kv, &p, NULL)) {
		a->unreadable++;
		return 0;
	}
	a->published.messages += p.messages;
	a->published.rows += p.rows;
	return 0;
}

static int count_stats(const struct etcd_kv *kv, void *arg)
{
	struct audit *a = arg;

	a->unreadable += tally_add(&a->tally, kv->value, NULL) != 0;
	return 0;
}

static int count_pointer(const struct etcd_kv *kv, void *arg)
{
	struct audit *a = arg;
	char ulid[ULID_LEN + 1];
	struct message m;
	bool ours;

	if (key_parse_ulid(kv->key, ulid) || message_decode(ulid, kv->value, &m, NULL)) {
		a->unreadable++;
		return 0;
	}
	ours = published_has(&a->published_by, &m);
	*(ours ? &a->into->messages : &a->into->foreign_messages) += 1;
	*(ours ? &a->into->rows : &a->into->foreign_rows) += m.rows;
	message_release(&m);
	return 0;
}

static int count_chunk(const struct etcd_kv *kv, void *arg)
{
	struct audit *a = arg;

	if (chunk_decode(kv->value, &a->chunk, NULL))
		a->unreadable++;
	else
		a->readable_rows += a->chunk.rows;
	return 0;
}

/* Everything at the revision of the first read. */
static int gather(struct etcd *c, struct audit *a, int64_t *ret_revision, struct err *e)
{
	const struct {
		const char *prefix;
		int (*count)(const struct etcd_kv *kv, void *arg);
		struct place *into;
	} reads[] = {
		{KEY_PRODUCERS, count_producer, NULL},
		{KEY_QUEUE, count_pointer, &a->queued},
		{KEY_PROCESSING, count_pointer, &a->processing},
		{KEY_DEADLETTER, count_pointer, &a->dead},
		{KEY_STATS, count_stats, NULL},
		{KEY_DATA, count_chunk, NULL},
	};
	int64_t revision = 0;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(reads) && !r; i++) {
		a->into = reads[i].into;
		r = etcd_each(c, reads[i].prefix, key_prefix_end(reads[i].prefix).s, revision, 0,
			      reads[i].count, a, i ? NULL : &revision, e);
	}
	chunk_release(&a->chunk);
	published_release(&a->published_by);
	*ret_revision = revision;
	return r;
}

/* One line; returns what is missing (> 0) or too many (< 0). */
static int64_t print_line(const char *what, int64_t published, int64_t queued, int64_t processing,
			  int64_t stored, int64_t dead, int64_t dropped)
{
	int64_t difference = published - queued - processing - stored - dead - dropped;

	printf("%s published=%lld queued=%lld processing=%lld stored=%lld dead=%lld dropped=%lld "
	       "difference=%lld\n",
	       what, (long long)published, (long long)queued, (long long)processing,
	       (long long)stored, (long long)dead, (long long)dropped, (long long)difference);
	return difference;
}

static int print(const struct audit *a, int64_t revision)
{
	const struct tally *t = &a->tally;
	int64_t messages, rows;

	printf("revision=%lld\n", (long long)revision);
	messages = print_line("messages:", a->published.messages + t->messages_ended,
			      a->queued.messages, a->processing.messages,
			      t->messages_processed - t->messages_foreign, a->dead.messages,
			      t->messages_dropped);
	rows = print_line("rows:", a->published.rows + t->rows_ended, a->queued.rows,
			  a->processing.rows, t->rows_stored - t->rows_foreign, a->dead.rows,
			  t->rows_dropped);
	printf("foreign: queued=%lld processing=%lld stored=%lld dead=%lld rows=%lld "
	       "no_value=%lld\n",
	       (long long)a->queued.foreign_messages, (long long)a->processing.foreign_messages,
	       (long long)t->messages_foreign, (long long)a->dead.foreign_messages,
	       (long long)t->rows_foreign, (long long)t->rows_no_value);
	printf("readable_rows=%lld unreadable_values=%lld\n", (long long)a->readable_rows,
	       (long long)a->unreadable);
	printf("balance=%s\n", messages || rows || a->unreadable ? "WRONG" : "exact");
	return messages || rows || a->unreadable;
}

int audit(struct etcd *c, struct err *e)
{
	struct audit a = {0};
	int64_t revision;
	int r = gather(c, &a, &revision, e);

	return r ? r : print(&a, revision);
}
