/* fs/inode against a tree of the test's own, whose versions change when the test says so. fs/ is
 * not in test.a, because the rest of it needs libfuse. */
#include "../lib/test.h"

#include <unistd.h>

#include "../../fs/inode.c"
#include "../../fs/inode_left.c"
#include "../../fs/inode_shown.c"
#include "../../fs/saved.c"

struct node {
	int refs;
	bool vanished;
	struct attr attr;
	const char *name;
	uint64_t parent;
};

struct tree {
	int unused;
};

enum { ROOT = 1, HOST = 10, GPU, HISTORY, SEGMENT, VALUE, LATEST, META, STATUS, LINK, README };

static struct tree the_tree;
static struct node nodes[] = {
	{.attr = {.ino = ROOT, .type = NODE_DIR}, .name = ""},
	{.attr = {.ino = HOST, .type = NODE_DIR}, .name = "h", .parent = ROOT},
	{.attr = {.ino = GPU, .type = NODE_DIR}, .name = "0", .parent = HOST},
	{.attr = {.ino = HISTORY, .type = NODE_DIR}, .name = "history", .parent = GPU},
	{.attr = {.ino = SEGMENT, .type = NODE_FILE, .content = CONTENT_ROWS},
	 .name = "s.csv",
	 .parent = HISTORY},
	{.attr = {.ino = VALUE, .type = NODE_FILE, .content = CONTENT_SNAPSHOT},
	 .name = "uuid",
	 .parent = GPU},
	{.attr = {.ino = LATEST, .type = NODE_FILE, .content = CONTENT_SNAPSHOT},
	 .name = "latest.csv",
	 .parent = HOST},
	{.attr = {.ino = META, .type = NODE_DIR}, .name = ".meta", .parent = ROOT},
	{.attr = {.ino = STATUS, .type = NODE_FILE, .content = CONTENT_SNAPSHOT},
	 .name = "status",
	 .parent = META},
	{.attr = {.ino = LINK, .type = NODE_LINK}, .name = "telemetry.csv", .parent = GPU},
	{.attr = {.ino = README, .type = NODE_FILE, .content = CONTENT_SNAPSHOT},
	 .name = "README",
	 .parent = ROOT},
};

static struct node *node_of(uint64_t ino)
{
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		if (nodes[i].attr.ino == ino)
			return &nodes[i];
	return NULL;
}

struct node *node_ref(struct node *n)
{
	n->refs++;
	return n;
}

void node_unref(struct node *n)
{
	n->refs--;
}

struct node *tree_root(struct tree *t)
{
	return node_ref(&nodes[0]);
}

int tree_lookup(struct tree *t, struct node *dir, const char *name, struct node **ret)
{
	for (size_t i = 1; i < ARRAY_SIZE(nodes); i++)
		if (nodes[i].parent == dir->attr.ino && !strcmp(nodes[i].name, name)) {
			*ret = node_ref(&nodes[i]);
			return 0;
		}
	return -ENOENT;
}

int tree_attr(struct tree *t, struct node *n, struct attr *ret)
{
	if (n->vanished)
		return -ESTALE;
	*ret = n->attr;
	return 0;
}

uint64_t node_ino(const struct node *n)
{
	return n->attr.ino;
}

int tree_resolve(struct tree *t, const char *path, bool follow, struct node **ret)
{
	char *copy = xstrdup(path), *rest = copy, *name;
	struct node *at = tree_root(t);
	int r = 0;

	while (r == 0 && *path && (name = strsep(&rest, "/"))) {
		struct node *dir = at;

		r = tree_lookup(t, dir, name, &at);
		node_unref(dir);
	}
	if (r == 0 && at->vanished) {
		node_unref(at);
		r = -ENOENT;
	}
	if (r == 0)
		*ret = at;
	free(copy);
	return r;
}

static struct inode_table *table;
static struct saved *saved;

static void begin(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		nodes[i].refs = 0;
		nodes[i].vanished = false;
		nodes[i].attr.size = 100;
		nodes[i].attr.until_ns = INT64_MAX;
	}
	saved = NULL;
	table = inode_table_new(&the_tree, NULL);
}

/* The daemon dies, and its successor inherits. */
static void die(void)
{
	struct err e;
	int fd = dup(saved_fd(saved));

	inode_table_free(table);
	saved_free(saved);
	CHECK_EQ_INT(saved_open(&saved, fd, &e), 0);
	table = inode_table_new(&the_tree, saved);
	inode_table_inherit(table);
}

static void begin_saved(void)
{
	struct err e;

	begin();
	inode_table_free(table);
	CHECK_EQ_INT(saved_new(&saved, &e), 0);
	saved_set_init(saved, "INIT", 4);
	table = inode_table_new(&the_tree, saved);
}

static void end(void)
{
	inode_table_free(table);
	saved_free(saved);
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		CHECK_EQ_INT(nodes[i].refs, 0);
}

/* A reference to what the kernel has looked up; *ret_timeout as answered. */
static struct inode *look_up(uint64_t dir, const char *name, double *ret_timeout)
{
	struct inode *d = inode_get(table, dir), *i = NULL;
	double timeout = -1;
	struct attr a;

	if (CHECK(d != NULL))
		CHECK_EQ_INT(inode_lookup(table, d, name, &i, &a, &timeout), 0);
	inode_put(table, d);
	if (ret_timeout)
		*ret_timeout = timeout;
	return i;
}

static struct inode *look_up_segment(void)
{
	inode_put(table, look_up(ROOT, "h", NULL));
	inode_put(table, look_up(HOST, "0", NULL));
	inode_put(table, look_up(GPU, "history", NULL));
	return look_up(HISTORY, "s.csv", NULL);
}

static bool is_known(uint64_t ino)
{
	struct inode *i = inode_get(table, ino);

	inode_put(table, i);
	return i != NULL;
}

static int64_t size_answered(struct inode *i, double *ret_timeout)
{
	struct attr a = {.size = -1};

	if (inode_attr(table, i, &a, ret_timeout) < 0)
		return -1;
	return a.size;
}

TEST(the_root_is_known_from_the_start_and_is_never_forgotten)
{
	begin();
	inode_forget(table, ROOT, 1000);
	CHECK(is_known(ROOT));
	end();
}

TEST(an_inode_is_known_until_all_its_lookups_are_forgotten)
{
	begin();
	for (int i = 0; i < 3; i++)
		inode_put(table, look_up(ROOT, "h", NULL));
	inode_forget(table, HOST, 2);
	CHECK(is_known(HOST));
	inode_forget(table, HOST, 1);
	CHECK(!is_known(HOST));
	CHECK_EQ_INT(inode_table_count(table), 1);
	end();
}

TEST(a_reference_outlives_the_forget)
{
	struct inode *i;

	begin();
	i = look_up(ROOT, "h", NULL);
	inode_forget(table, HOST, 1);
	CHECK(!inode_is_known(table, i));
	CHECK_EQ_STR(i->name, "h");
	CHECK_EQ_INT(nodes[1].refs, 1);
	inode_put(table, i);
	CHECK_EQ_INT(nodes[1].refs, 0);
	end();
}

TEST(forgetting_too_much_or_what_is_unknown_does_nothing)
{
	begin();
	inode_put(table, look_up(ROOT, "h", NULL));
	inode_forget(table, HOST, 7);
	inode_forget(table, HOST, 1);
	inode_forget(table, 4711, 1);
	CHECK_EQ_INT(inode_table_count(table), 1);
	end();
}

TEST(a_name_that_does_not_exist_counts_nothing)
{
	struct inode *root, *i;
	struct attr a;
	double timeout;

	begin();
	root = inode_get(table, ROOT);
	CHECK_EQ_INT(inode_lookup(table, root, "nobody", &i, &a, &timeout), -ENOENT);
	node_of(HOST)->vanished = true;
	CHECK_EQ_INT(inode_lookup(table, root, "h", &i, &a, &timeout), -ENOENT);
	CHECK_EQ_INT(inode_table_count(table), 1);
	inode_put(table, root);
	end();
}

TEST(attributes_stay_of_all_that_belongs_to_hosts_but_links)
{
	static const struct {
		uint64_t dir;
		const char *name;
		bool attributes, name_stays;
	} cases[] = {
		{ROOT, "h", true, true},       {HOST, "0", true, true},
		{GPU, "history", true, true},  {HISTORY, "s.csv", true, true},
		{GPU, "uuid", true, true},     {HOST, "latest.csv", true, true},
		{ROOT, "README", false, true}, {GPU, "telemetry.csv", false, false},
		{ROOT, ".meta", false, true},  {META, "status", false, false},
	};
	double timeout;

	begin();
	for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
		struct inode *i = look_up(cases[k].dir, cases[k].name, &timeout);

		test_check((timeout > 0) == cases[k].attributes, __FILE__, __LINE__,
			   "attributes of %s hold for %g s", cases[k].name, timeout);
		test_check((i->entry_timeout > 0) == cases[k].name_stays, __FILE__, __LINE__,
			   "the name %s holds for %g s", cases[k].name, i->entry_timeout);
		inode_put(table, i);
	}
	end();
}

TEST(what_is_shown_stays_until_it_is_published)
{
	struct inode *i;
	int64_t old = 0;
	double timeout;

	begin();
	i = look_up_segment();
	node_of(SEGMENT)->attr.size = 150;
	CHECK_EQ_INT(size_answered(i, &timeout), 100);
	CHECK_EQ_INT(inode_read_limit(i), 100);
	CHECK(timeout > 0);

	CHECK_EQ_INT(inode_publish_begin(table, i, false, &old), INODE_CHANGED);
	CHECK_EQ_INT(old, 100);
	CHECK_EQ_INT(size_answered(i, &timeout), 100);
	CHECK_EQ_INT(inode_read_limit(i), 100);
	CHECK(timeout == 0);

	inode_publish_end(i);
	CHECK_EQ_INT(inode_read_limit(i), INT64_MAX);
	CHECK_EQ_INT(size_answered(i, &timeout), 150);
	CHECK_EQ_INT(inode_read_limit(i), 150);
	CHECK(timeout > 0);
	inode_put(table, i);
	end();
}

TEST(attributes_of_what_changes_with_time_hold_until_then)
{
	struct inode *i;
	double timeout;

	begin();
	inode_put(table, look_up_segment());
	node_of(VALUE)->attr.until_ns = wall_now_ns() + 30 * NS_PER_SEC;
	i = look_up(GPU, "uuid", &timeout);
	CHECK(timeout > 0 && timeout <= 30);
	inode_put(table, i);
	end();

	begin();
	inode_put(table, look_up_segment());
	node_of(VALUE)->attr.until_ns = wall_now_ns();
	i = look_up(GPU, "uuid", &timeout);
	CHECK(timeout == 0);
	node_of(VALUE)->attr.size = 150;
	CHECK_EQ_INT(size_answered(i, &timeout), 150);
	inode_put(table, i);
	end();
}

TEST(attributes_stay_with_the_kernel_while_they_are_those_that_all_who_will_read_were_promised)
{
	struct inode *i;
	struct attr old;
	double timeout;

	begin();
	inode_put(table, look_up_segment());
	i = look_up(GPU, "uuid", NULL);
	old = node_of(VALUE)->attr;
	CHECK(!inode_promise(i, &old));
	size_answered(i, &timeout);
	CHECK(timeout > 0);

	node_of(VALUE)->attr.size = 150;
	CHECK(inode_promise(i, &node_of(VALUE)->attr));
	inode_publish_end(i);
	CHECK_EQ_INT(size_answered(i, &timeout), 150);
	CHECK(timeout == 0);
	inode_promise_end(i);
	CHECK(inode_has_promises(i));
	inode_promise_end(i);
	CHECK(!inode_has_promises(i));
	CHECK_EQ_INT(size_answered(i, &timeout), 150);
	CHECK(timeout > 0);

	CHECK(!inode_promise(i, &node_of(VALUE)->attr));
	size_answered(i, &timeout);
	CHECK(timeout > 0);
	inode_promise_end(i);
	inode_put(table, i);
	end();
}

TEST(a_reader_of_what_is_not_shown_yet_publishes_it_beside_the_notifier)
{
	struct inode *i;
	int64_t old;
	double timeout;

	begin();
	inode_put(table, look_up_segment());
	i = look_up(GPU, "uuid", NULL);
	CHECK(!inode_publish_ahead(i, &node_of(VALUE)->attr));
	node_of(VALUE)->attr.size = 150;
	CHECK(inode_publish_ahead(i, &node_of(VALUE)->attr));
	CHECK_EQ_INT(inode_publish_begin(table, i, false, &old), INODE_CHANGED);
	CHECK_EQ_INT(size_answered(i, &timeout), 100);
	CHECK(timeout == 0);

	inode_publish_end(i);
	CHECK_EQ_INT(size_answered(i, &timeout), 150);
	CHECK(timeout == 0);
	inode_publish_end(i);
	CHECK(!inode_publish_ahead(i, &node_of(VALUE)->attr));
	CHECK_EQ_INT(size_answered(i, &timeout), 150);
	CHECK(timeout > 0);
	inode_put(table, i);
	end();
}

TEST(nothing_is_published_of_what_is_not_shown_or_has_not_changed)
{
	struct inode *i;
	int64_t old;

	begin();
	i = look_up_segment();
	CHECK_EQ_INT(inode_publish_begin(table, i, true, &old), INODE_SAME);
	node_of(SEGMENT)->attr.size = 150;
	CHECK_EQ_INT(inode_publish_begin(table, i, false, &old), INODE_CHANGED);
	inode_publish_end(i);
	node_of(SEGMENT)->attr.size = 200;
	CHECK_EQ_INT(inode_publish_begin(table, i, false, &old), INODE_SAME);
	inode_put(table, i);
	end();
}

TEST(what_has_vanished_is_said_once_also_where_nothing_is_shown)
{
	struct inode *i;
	int64_t old;
	double timeout;

	begin();
	i = look_up_segment();
	node_of(SEGMENT)->attr.size = 150;
	CHECK_EQ_INT(inode_publish_begin(table, i, false, &old), INODE_CHANGED);
	inode_publish_end(i);
	node_of(SEGMENT)->vanished = true;
	CHECK_EQ_INT(inode_publish_begin(table, i, false, &old), INODE_SAME);
	CHECK_EQ_INT(inode_publish_begin(table, i, true, &old), INODE_GONE);
	inode_publish_end(i);
	CHECK_EQ_INT(inode_publish_begin(table, i, true, &old), INODE_SAME);
	CHECK_EQ_INT(size_answered(i, &timeout), -1);
	inode_put(table, i);
	end();
}

static size_t members(const char *key)
{
	struct inode **list;
	size_t n = inode_group_members(table, key, &list);

	for (size_t i = 0; i < n; i++)
		inode_put(table, list[i]);
	free(list);
	return n;
}

TEST(a_group_has_what_belongs_to_a_gpu_a_host_or_the_root)
{
	begin();
	inode_put(table, look_up_segment());
	inode_put(table, look_up(GPU, "uuid", NULL));
	inode_put(table, look_up(HOST, "latest.csv", NULL));
	inode_put(table, look_up(ROOT, ".meta", NULL));
	CHECK_EQ_INT(members(""), 1);
	CHECK_EQ_INT(members("h"), 2);
	CHECK_EQ_INT(members("h/0"), 4);
	CHECK_EQ_INT(members("h/1"), 0);
	CHECK(inode_group_is_known(table, "h/0"));
	CHECK(!inode_group_is_known(table, "h/1"));
	inode_forget(table, SEGMENT, 1);
	CHECK_EQ_INT(members("h/0"), 3);
	inode_forget(table, GPU, 1);
	inode_forget(table, VALUE, 1);
	inode_forget(table, HISTORY, 1);
	CHECK_EQ_INT(members("h/0"), 0);
	CHECK(!inode_group_is_known(table, "h/0"));
	end();
}

TEST(a_path_is_known_as_long_as_its_inode_is)
{
	struct inode *i;

	begin();
	inode_put(table, look_up_segment());
	i = inode_at(table, "h/0/history/s.csv");
	if (CHECK(i != NULL)) {
		CHECK_EQ_INT(i->ino, SEGMENT);
		CHECK_EQ_STR(i->name, "s.csv");
	}
	CHECK(inode_path_is_known(table, "h/0"));
	CHECK(inode_path_is_known(table, ""));
	CHECK(!inode_path_is_known(table, "h/0/metrics"));
	inode_count_lookup(table, i);
	inode_forget(table, SEGMENT, 1);
	CHECK(inode_path_is_known(table, "h/0/history/s.csv"));
	inode_forget(table, SEGMENT, 1);
	CHECK(!inode_path_is_known(table, "h/0/history/s.csv"));
	inode_count_lookup(table, i);
	CHECK(!inode_path_is_known(table, "h/0/history/s.csv"));
	inode_put(table, i);
	end();
}

TEST(what_is_idle_is_told_once_what_is_in_a_folder_before_it)
{
	uint64_t *idle;

	begin();
	inode_put(table, look_up_segment());
	CHECK_EQ_INT(inode_idle(table, 1000000, &idle), 0);
	free(idle);
	if (CHECK_EQ_INT(inode_idle(table, 0, &idle), 4)) {
		CHECK_EQ_INT(idle[0], SEGMENT);
		CHECK_EQ_INT(idle[1], HISTORY);
		CHECK_EQ_INT(idle[3], HOST);
	}
	free(idle);
	end();
}

/* ---- after a death ----------------------------------------------------------------------------
 */

static size_t left(void)
{
	uint64_t *list;
	size_t n = inode_left(table, &list);

	free(list);
	return n;
}

TEST(a_successor_finds_again_what_the_kernel_knows)
{
	struct inode *i;

	begin_saved();
	inode_put(table, look_up_segment());
	inode_put(table, look_up(HISTORY, "s.csv", NULL));
	die();
	CHECK_EQ_INT((int64_t)left(), 4);
	i = inode_get(table, SEGMENT);
	if (CHECK(i != NULL)) {
		CHECK_EQ_STR(i->path, "h/0/history/s.csv");
		CHECK_EQ_STR(i->name, "s.csv");
		CHECK_EQ_INT((int64_t)i->parent, HISTORY);
		CHECK_EQ_INT((int64_t)i->lookups, 2);
		CHECK_EQ_STR(i->group->key, "h/0");
		CHECK(i->pushed);
	}
	inode_put(table, i);
	CHECK_EQ_INT((int64_t)left(), 3);
	inode_forget(table, SEGMENT, 1);
	CHECK(is_known(SEGMENT));
	inode_forget(table, SEGMENT, 1);
	CHECK(!is_known(SEGMENT));
	end();
}

TEST(what_is_looked_up_again_before_it_is_asked_for_goes_on_counting)
{
	begin_saved();
	inode_put(table, look_up(ROOT, "h", NULL));
	die();
	inode_put(table, look_up(ROOT, "h", NULL));
	CHECK_EQ_INT((int64_t)left(), 0);
	inode_forget(table, HOST, 1);
	CHECK(is_known(HOST));
	inode_forget(table, HOST, 1);
	CHECK(!is_known(HOST));
	die();
	CHECK_EQ_INT((int64_t)left(), 0);
	end();
}

TEST(what_the_kernel_forgets_or_the_tree_has_lost_is_not_found_again)
{
	begin_saved();
	inode_put(table, look_up_segment());
	inode_put(table, look_up(GPU, "uuid", NULL));
	die();
	inode_forget(table, VALUE, 1);
	CHECK(inode_get(table, VALUE) == NULL && !inode_is_left(table, VALUE));
	node_of(SEGMENT)->vanished = true;
	CHECK(inode_is_left(table, SEGMENT));
	CHECK(inode_get(table, SEGMENT) == NULL && !inode_is_left(table, SEGMENT));
	die();
	CHECK_EQ_INT((int64_t)left(), 3);
	end();
}
