#include "../lib/etcd_server.h"
#include "../lib/test.h"
#include "../lib/tree_fixture.h"
#include "clock.h"
#include "render.h"
#include "view.h"

#include <stdio.h>
#include <unistd.h>

#define WAIT_MS 20000

/* A view of an etcd, and chunks made beside it that are written there. */
struct world {
	struct fixture x; /* its tree is not used */
	struct etcd *etcd;
	struct view *view;
	struct tree *t;
	struct etcd_txn txn;
};

static struct err e;

static struct etcd_server *shared(void)
{
	static struct etcd_server server;

	if (!server.pid)
		etcd_server_start(&server, NULL);
	return &server;
}

static struct etcd *client(const char *prefix)
{
	struct etcd_conf conf = {.endpoints = shared()->endpoint,
				 .prefix = prefix,
				 .dial_timeout_ms = 1000,
				 .request_timeout_ms = 2000,
				 .max_inflight = 8};
	struct etcd *c = NULL;

	CHECK_EQ_INT(etcd_open(&c, &conf, &e), 0);
	return c;
}

static void world_open(struct world *w, const char *prefix)
{
	*w = (struct world){0};
	begin(&w->x);
	w->etcd = client(prefix);
	etcd_txn_init(&w->txn, w->etcd, "test");
	CHECK_EQ_INT(view_open(&w->view, w->etcd, 60000, 1 << 20, &e), 0);
	w->t = view_tree(w->view);
}

static void world_close(struct world *w)
{
	etcd_cancel(w->etcd);
	view_close(w->view);
	etcd_txn_release(&w->txn);
	etcd_close(w->etcd);
	end(&w->x);
}

static void put(struct world *w, const char *key, const char *value)
{
	etcd_then_put(&w->txn, key, slice_str(value), 0);
}

static void put_identity(struct world *w)
{
	struct key key = key_gpu(w->x.f->host, w->x.f->gpu);
	struct strbuf json;

	strbuf_init(&json, 65536);
	identity_encode(&json, w->x.f->id);
	put(w, key.s, json.s);
	strbuf_release(&json);
}

static void put_chunk(struct world *w, const struct feed_chunk *c)
{
	etcd_then_put(&w->txn, c->key, (struct slice){c->value.s, c->value.len}, 0);
}

/* Sends what was put and waits until the tree shows it. */
static void settle(struct world *w)
{
	struct mono deadline = mono_in_ms(WAIT_MS);
	struct etcd_reply reply = {0};
	int r;

	do
		r = etcd_txn_send(&w->txn, &reply, &e);
	while (etcd_transient(r) && mono_ms_until(deadline) && usleep(20000) == 0);
	CHECK_EQ_INT(r, 0);
	etcd_txn_reset(&w->txn);
	while (tree_revision(w->t) < reply.revision && mono_ms_until(deadline))
		usleep(1000);
	CHECK(tree_revision(w->t) >= reply.revision);
	etcd_reply_release(&reply);
}

static void check_status(struct world *w, const char *line)
{
	char *status = feed_cat(w->t, ".meta/status", 0);
	char *at = strstr(status, line);

	if (!CHECK(at && (at == status || at[-1] == '\n') && at[strlen(line)] == '\n'))
		CHECK_EQ_STR(status, line);
	free(status);
}

TEST(a_view_lists_what_is_there_and_follows_what_comes)
{
	struct world w;
	struct feed_chunk *a, *b, *merged, *parts[2];

	world_open(&w, "/follow");
	CHECK(view_wait_ready(w.view, WAIT_MS));
	a = parts[0] = chunk(&w.x, T0, 0, two, 2);
	put_identity(&w);
	put_chunk(&w, a);
	put(&w, KEY_CONFIG, "{\"segment_s\":3600}");
	settle(&w);
	check_cat(w.t, LOG, ROW_FILE_HEADER ROWS_TWO);
	b = parts[1] = chunk(&w.x, T0, 2, next, 2);
	put_chunk(&w, b);
	settle(&w);
	check_cat(w.t, LOG, ROW_FILE_HEADER ROWS_TWO ROWS_NEXT);
	check_cat(w.t, GPU "metrics/" UTIL, "90\n");
	merged = feed_merge(&w.x.store, w.x.f, parts, 2, 1);
	etcd_then_delete(&w.txn, a->key, NULL);
	etcd_then_delete(&w.txn, b->key, NULL);
	put_chunk(&w, merged);
	settle(&w);
	check_cat(w.t, LOG, ROW_FILE_HEADER ROWS_TWO ROWS_NEXT);
	etcd_then_delete(&w.txn, merged->key, NULL);
	etcd_then_delete(&w.txn, key_gpu("h1", "0").s, NULL);
	settle(&w);
	check_cat(w.t, "h1", "!ENOENT");
	world_close(&w);
}

TEST(a_body_that_is_not_in_the_data_key_is_fetched)
{
	static struct feed_row rows[2000];
	struct world w;
	struct feed_chunk *c;
	struct key body;
	char *text;

	world_open(&w, "/body");
	for (int i = 0; i < 2000; i++)
		rows[i] = (struct feed_row)ROW(UTIL, i * i % 7 ? "12.345" : "7e-06",
					       T0 + (i * 2654435761U >> 8) % 3599 * NS_PER_SEC);
	c = chunk(&w.x, T0, 0, rows, 2000);
	CHECK(c->body.len > CHUNK_INLINE_MAX);
	body = key_body(w.x.f->host, w.x.f->gpu, c->parsed.first_ns, c->parsed.ulid);
	put_identity(&w);
	put_chunk(&w, c);
	etcd_then_put(&w.txn, body.s, (struct slice){c->body.s, c->body.len}, 0);
	settle(&w);
	CHECK(view_wait_ready(w.view, WAIT_MS));
	text = feed_cat(w.t, LOG, 65536);
	CHECK_EQ_INT((int64_t)strlen(text), (int64_t)sizeof(ROW_FILE_HEADER) - 1 + c->csv_bytes);
	free(text);
	world_close(&w);
}

TEST(a_latest_that_went_with_its_segment_comes_back_without_a_list)
{
	struct feed_row later[] = {ROW(UTIL, "5", SEC(3601))};
	struct mono deadline = mono_in_ms(WAIT_MS);
	struct feed_chunk *new;
	struct world w;
	char *text;

	world_open(&w, "/lost");
	put_chunk(&w, chunk(&w.x, T0, 0, two, 2));
	new = chunk(&w.x, T0 + HOUR, 0, later, 1);
	put_chunk(&w, new);
	put_identity(&w);
	settle(&w);
	check_cat(w.t, GPU "metrics/" UTIL, "5\n");
	test_capture(2);
	etcd_then_delete(&w.txn, new->key, NULL);
	settle(&w);
	text = feed_cat(w.t, GPU "metrics/" UTIL, 0);
	while (strcmp(text, "87\n") && mono_ms_until(deadline)) {
		usleep(1000);
		free(text);
		text = feed_cat(w.t, GPU "metrics/" UTIL, 0);
	}
	CHECK(!strstr(test_captured(2), "listing again"));
	CHECK_EQ_STR(text, "87\n");
	free(text);
	world_close(&w);
}

TEST(values_that_are_none_are_left_out)
{
	struct feed_chunk *c;
	struct world w;

	world_open(&w, "/damaged");
	c = chunk(&w.x, T0, 0, two, 2);
	put(&w, KEY_DATA "h1/0/nonsense", "x");
	put(&w, key_data("h1", "0", T0, "01ARZ3NDEKTSV4RRFFQ69G5FAV").s, "gtc\1garbage");
	put(&w, key_data("h1", "0", T0, "01ARZ3NDEKTSV4RRFFQ69G5FAW").s, "gtc\377later version");
	put(&w, KEY_GPUS "h1/1", "{");
	put(&w, KEY_GPUS "h1/2",
	    "{\"v\":1,\"hostname\":\"other\",\"gpu_id\":\"2\","
	    "\"incarnation\":\"0123456789abcdef\"}");
	put(&w, KEY_CONFIG, "[]");
	put_identity(&w);
	put_chunk(&w, c);
	settle(&w);
	check_cat(w.t, LOG, ROW_FILE_HEADER ROWS_TWO);
	check_cat(w.t, "h1/2", "!ENOENT");
	check_cat(w.t, "other", "!ENOENT");
	world_close(&w);
}

TEST(status_has_the_figures_of_the_queue)
{
	struct world w;

	world_open(&w, "/status");
	put(&w, KEY_PRODUCERS "a", "{\"messages\":10,\"rows\":100,\"throttle_rate\":\"0.1\"}");
	put(&w, KEY_PRODUCERS "b/owner", "{\"messages\":1000}");
	put(&w, KEY_PRODUCERS "b", "{\"messages\":5,\"rows\":50,\"throttle_rate\":\"0.5\"}");
	put(&w, KEY_STATS "c/0",
	    "{\"messages_processed\":8,\"rows_stored\":80,"
	    "\"latency_ms_sum\":200}");
	put(&w, KEY_STATS_TOTAL,
	    "{\"messages_processed\":2,\"rows_stored\":9,\"messages_dropped\":1,"
	    "\"messages_foreign\":1}");
	put(&w, KEY_CONFIG, "{\"segment_s\":3600}");
	settle(&w);
	check_status(&w, "etcd=up");
	check_status(&w, "messages_published=15");
	check_status(&w, "messages_processed=10");
	check_status(&w, "messages_dropped=1");
	check_status(&w, "queue_depth=5");
	check_status(&w, "rows_published=150");
	check_status(&w, "rows_stored=89");
	check_status(&w, "processing_latency_ms=20");
	check_status(&w, "processing_lag_ms=0");
	check_status(&w, "throttle_rate=0.5");
	put(&w, KEY_PRODUCERS "b", "{\"messages\":0,\"rows\":50}");
	put(&w, KEY_CONFIG, "{\"segment_s\":3600}");
	settle(&w);
	check_status(&w, "queue_depth=0"); /* at once, not that of before */
	world_close(&w);
}

/* A dead letter of source a with this sequence. */
static void put_dead(struct world *w, const char *ulid, const char *source, int64_t sequence)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"topic\":\"telemetry\",\"host\":\"h\",\"source\":\"%s\",\"sequence\":%lld,"
		 "\"rows\":7,\"schema\":\"v1\",\"sha256\":\"%064d\"}",
		 source, (long long)sequence, 0);
	put(w, key_deadletter(ulid).s, text);
}

TEST(queue_depth_counts_no_message_that_no_record_has_published)
{
	struct world w;

	world_open(&w, "/foreign");
	put(&w, KEY_PRODUCERS "a", "{\"messages\":3,\"rows\":30,\"sequence\":3}");
	put(&w, KEY_STATS "c/0",
	    "{\"messages_processed\":3,\"rows_stored\":20,\"messages_foreign\":1}");
	put_dead(&w, "01ARZ3NDEKTSV4RRFFQ69G5FA0", "a", 3);
	put_dead(&w, "01ARZ3NDEKTSV4RRFFQ69G5FA1", "a", 4);
	put_dead(&w, "01ARZ3NDEKTSV4RRFFQ69G5FA2", "b", 1);
	put_dead(&w, "01ARZ3NDEKTSV4RRFFQ69G5FA3", "", 0);
	put(&w, KEY_CONFIG, "{\"segment_s\":3600}");
	settle(&w);
	check_status(&w, "messages_dead=4");
	check_status(&w, "queue_depth=0");
	world_close(&w);
}

TEST(without_etcd_what_is_known_stays_readable)
{
	struct mono deadline = mono_in_ms(WAIT_MS);
	struct world w;
	struct feed_chunk *c;
	struct etcd_server *server = shared(); /* which would start another when it is down */
	char *status = NULL;

	world_open(&w, "/down");
	c = chunk(&w.x, T0, 0, two, 2);
	put_identity(&w);
	put_chunk(&w, c);
	settle(&w);
	etcd_server_kill(server);
	do {
		struct mono asked = mono_now();

		free(status);
		status = feed_cat(w.t, ".meta/status", 0);
		CHECK(mono_ms_since(asked) < 1500);
	} while (!strstr(status, "etcd=down\netcd_down_since=20") && mono_ms_until(deadline));
	CHECK(strstr(status, "etcd=down\netcd_down_since=20"));
	free(status);
	check_cat(w.t, LOG, ROW_FILE_HEADER ROWS_TWO);
	check_cat(w.t, GPU "metrics/" UTIL, "87\n");
	etcd_server_again(server, NULL);
	put_chunk(&w, chunk(&w.x, T0, 2, next, 2));
	settle(&w);
	check_cat(w.t, LOG, ROW_FILE_HEADER ROWS_TWO ROWS_NEXT);
	world_close(&w);
}
