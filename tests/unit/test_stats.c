#include <pthread.h>
#include <stdio.h>

#include "../lib/test.h"
#include "conf.h"
#include "stats.h"

static struct strbuf text;

static const char *render(void)
{
	strbuf_release(&text);
	strbuf_init(&text, 4 << 20);
	stats_render(&text);
	strbuf_addc(&text, '\0');
	return text.s;
}

static bool has_line(const char *line)
{
	const char *at = strstr(text.s, line);

	return at && (at == text.s || at[-1] == '\n') && at[strlen(line)] == '\n';
}

TEST(a_counter_has_help_type_and_value)
{
	stats_add(STAT_MESSAGES_PUBLISHED, 3);
	stats_add(STAT_MESSAGES_PUBLISHED, 4);
	stats_setup(CONF_STREAMER, "gputel-streamer");
	render();
	CHECK(has_line("# HELP gputel_messages_published_total Messages put in the queue."));
	CHECK(has_line("# TYPE gputel_messages_published_total counter"));
	CHECK(has_line("gputel_messages_published_total 7"));
	CHECK_EQ_INT(stats_value(STAT_MESSAGES_PUBLISHED), 7);
}

TEST(only_what_the_program_has_is_shown)
{
	char line[128];

	stats_setup(CONF_COLLECTOR, "gputel-collector");
	render();
	CHECK(strstr(text.s, "gputel_rows_stored_total"));
	CHECK(!strstr(text.s, "gputel_rows_published_total"));
	snprintf(line, sizeof(line),
		 "gputel_build_info{program=\"gputel-collector\",version=\"%s\"} 1",
		 gputel_version);
	CHECK(has_line(line));
	stats_setup(CONF_ALL, "all");
}

TEST(values_are_shown_in_their_unit_to_the_last_digit)
{
	stats_set(STAT_PROCESSING_LAG, 1500);
	stats_set(STAT_THROTTLE_RATE, 333333);
	stats_set(STAT_QUEUE_DEPTH, INT64_MAX);
	render();
	CHECK(has_line("gputel_processing_lag_seconds 1.5"));
	CHECK(has_line("gputel_throttle_rate 0.333333"));
	CHECK(has_line("gputel_queue_depth 9223372036854775807"));
	stats_set(STAT_PROCESSING_LAG, -1);
	render();
	CHECK(has_line("gputel_processing_lag_seconds -0.001"));
}

TEST(labels_are_escaped_and_cells_found_again)
{
	struct stat_cell *c = stats_cell(STAT_HTTP_REQUESTS, "/a\"b\\c\nd", "200");

	CHECK(c == stats_cell(STAT_HTTP_REQUESTS, "/a\"b\\c\nd", "200"));
	CHECK(c != stats_cell(STAT_HTTP_REQUESTS, "/a\"b\\c\nd", "404"));
	stat_cell_add(c, 2);
	render();
	CHECK(has_line("gputel_http_requests_total{route=\"/a\\\"b\\\\c\\nd\",code=\"200\"} 2"));
}

TEST(buckets_of_a_histogram_add_up)
{
	struct stat_cell *c = stats_cell(STAT_ETCD_REQUESTS, "claim", NULL);
	static const int64_t us[] = {0, 500, 501, 70000000, 1000};

	for (size_t i = 0; i < ARRAY_SIZE(us); i++)
		stat_cell_observe(c, us[i]);
	render();
#define NAME "gputel_etcd_request_duration_seconds"
	CHECK(has_line("# TYPE " NAME " histogram"));
	CHECK(has_line(NAME "_bucket{kind=\"claim\",le=\"0.0005\"} 2"));
	CHECK(has_line(NAME "_bucket{kind=\"claim\",le=\"0.001\"} 4"));
	CHECK(has_line(NAME "_bucket{kind=\"claim\",le=\"60\"} 4"));
	CHECK(has_line(NAME "_bucket{kind=\"claim\",le=\"+Inf\"} 5"));
	CHECK(has_line(NAME "_sum{kind=\"claim\"} 70.002001"));
	CHECK(has_line(NAME "_count{kind=\"claim\"} 5"));
}

TEST(a_family_has_a_ceiling)
{
	struct stat_cell *last = NULL;
	char name[32];

	for (int i = 0; i < STATS_CELLS + 10; i++) {
		snprintf(name, sizeof(name), "op-%d", i);
		last = stats_cell(STAT_FUSE_REQUESTS, name, NULL);
		stat_cell_add(last, 1);
	}
	CHECK(last == stats_cell(STAT_FUSE_REQUESTS, "yet another", NULL));
	CHECK(last != stats_cell(STAT_FUSE_REQUESTS, "op-1", NULL));
	render();
	CHECK(has_line("gputel_fuse_requests_total{op=\"op-1\"} 1"));
	CHECK(has_line("gputel_fuse_requests_total{op=\"other\"} 11"));
}

static void set_depth(void *arg)
{
	stats_set(STAT_ALL_QUEUE_DEPTH, ++*(int *)arg);
}

TEST(hooks_run_before_each_rendering_until_they_are_removed)
{
	int n = 0, m = 10;

	stats_hook(set_depth, &m);
	stats_hook(set_depth, &n);
	stats_unhook(set_depth, &m);
	render();
	render();
	stats_unhook(set_depth, &n);
	render();
	CHECK_EQ_INT(n, 2);
	CHECK_EQ_INT(m, 10);
	CHECK(has_line("gputel_queue_depth 2"));
}

TEST(the_process_is_described)
{
	render();
	CHECK(strstr(text.s, "\nprocess_cpu_seconds_total 0."));
	CHECK(!has_line("process_resident_memory_bytes 0") && !has_line("process_open_fds 0"));
	CHECK(has_line("process_threads 1"));
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *count(void *arg)
{
	char name[32];

	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "state-%d", i % 50);
		stat_cell_add(stats_cell(STAT_HTTP_CONNECTIONS, name, NULL), 1);
		stats_add(STAT_ROWS_STORED, 1);
		stats_observe(STAT_WATCH_LAG, i);
	}
	return NULL;
}

TEST(threads_count_while_it_is_rendered)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, count, NULL);
	for (int i = 0; i < 20; i++)
		render();
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	render();
	CHECK_EQ_INT(stats_value(STAT_ROWS_STORED), THREADS * ROUNDS);
	CHECK(has_line("gputel_watch_lag_seconds_count 8000"));
	CHECK(has_line("gputel_http_connections{state=\"state-7\"} 160"));
	strbuf_release(&text);
}
