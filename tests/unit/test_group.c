#include "../../collector/group.h"
#include "../lib/test.h"
#include "etcd.h"

#include <stdio.h>

struct scene {
	struct roster roster;
	struct group g;
};

static void scene_begin(struct scene *s, const char *id)
{
	*s = (struct scene){.roster = {.n_workers = 4}};
	group_init(&s->g, &s->roster, id);
	group_members_begin(&s->g);
	group_members_end(&s->g);
	group_writers_begin(&s->g);
	group_writers_end(&s->g);
	s->g.want_recovery = false;
}

static void scene_end(struct scene *s)
{
	group_release(&s->g);
	roster_release(&s->roster);
}

static void enter(struct scene *s, const char *id)
{
	group_member_put(&s->g, slice_str(key_consumer(id).s));
}

static void leave(struct scene *s, const char *id)
{
	group_member_delete(&s->g, slice_str(key_consumer(id).s));
}

static struct host *write_for(struct scene *s, const char *host, const char *id, int64_t rev)
{
	struct key key = key_writer(host);

	group_writer_set(
		&s->g,
		&(struct etcd_kv){.key = slice_str(key.s), .value = slice_str(id), .mod_rev = rev},
		false);
	return roster_by_name(&s->roster, host);
}

/* A recovery that has looked at a revision and found these sessions. */
static void recovered(struct scene *s, int64_t listed_rev, const char *alive)
{
	struct recovered rec = {.listed_rev = listed_rev};

	if (alive)
		map_put(&rec.alive, alive, strlen(alive), s);
	group_note_recovery(&s->g, &rec);
}

TEST(a_dead_writers_host_is_taken_only_after_a_recovery_that_saw_it_dead_as_its_writer)
{
	struct scene s;
	struct host *h;

	scene_begin(&s, "me");
	enter(&s, "me");
	enter(&s, "other");
	h = write_for(&s, "h", "other", 10);
	CHECK(!group_may_take(&s.g, h) && !s.g.want_recovery);
	leave(&s, "other");
	s.g.want_recovery = false;

	/* none yet; one before it was the writer; one that found it alive: its claims are not back
	 */
	CHECK(!group_may_take(&s.g, h) && s.g.want_recovery);
	recovered(&s, 9, NULL);
	CHECK(!group_may_take(&s.g, h));
	recovered(&s, 10, "other");
	CHECK(!group_may_take(&s.g, h));
	s.g.want_recovery = false;
	recovered(&s, 10, NULL);
	CHECK(group_may_take(&s.g, h) && !s.g.want_recovery);

	/* who has taken it since then, and is dead too, may have claimed since then */
	write_for(&s, "h", "third", 12);
	CHECK(!group_may_take(&s.g, h) && s.g.want_recovery);
	recovered(&s, 12, NULL);
	CHECK(group_may_take(&s.g, h));
	scene_end(&s);
}

TEST(a_host_without_a_writer_and_ones_own_may_be_taken_at_once)
{
	struct scene s;

	scene_begin(&s, "me");
	enter(&s, "me");
	CHECK(group_may_take(&s.g, roster_by_name(&s.roster, "new")));
	CHECK(group_may_take(&s.g, write_for(&s, "released", "", 5)));
	CHECK(group_may_take(&s.g, write_for(&s, "own", "me", 6)));
	CHECK(!s.g.want_recovery);
	scene_end(&s);
}

TEST(an_older_word_on_a_writer_does_not_undo_a_newer_one)
{
	struct scene s;
	struct host *h;

	scene_begin(&s, "me");
	h = write_for(&s, "h", "b", 12);
	write_for(&s, "h", "a", 11);
	CHECK_EQ_STR(h->writer, "b");
	CHECK_EQ_INT(h->writer_rev, 12);
	scene_end(&s);
}

enum { HOSTS = 32, MEMBERS = 4 };

static void count_targets(struct scene *s, const char *const *ids, size_t *counts)
{
	memset(counts, 0, MEMBERS * sizeof(*counts));
	group_place(&s->g);
	roster_each (&s->roster, i) {
		const struct host *h = roster_at(&s->roster, i);

		for (size_t k = 0; k < MEMBERS; k++)
			counts[k] += h->target && !strcmp(h->target, ids[k]);
	}
}

TEST(hosts_are_shared_out_evenly_and_move_no_more_than_they_must)
{
	static const char *const ids[MEMBERS] = {"a", "b", "c", "d"};
	size_t counts[MEMBERS], moved = 0;
	char name[HOSTS][8];
	struct scene s;

	scene_begin(&s, "a");
	for (size_t i = 0; i < MEMBERS; i++)
		enter(&s, ids[i]);
	for (int i = 0; i < HOSTS; i++) {
		snprintf(name[i], sizeof(name[i]), "h%d", i);
		roster_by_name(&s.roster, name[i]);
	}
	count_targets(&s, ids, counts);
	for (size_t k = 0; k < MEMBERS; k++)
		CHECK_EQ_INT(counts[k], HOSTS / MEMBERS);
	for (int i = 0; i < HOSTS; i++)
		write_for(&s, name[i], roster_by_name(&s.roster, name[i])->target, 100 + i);
	leave(&s, "d");
	count_targets(&s, ids, counts);
	for (size_t k = 0; k < 3; k++)
		CHECK(counts[k] >= HOSTS / 4 && counts[k] <= HOSTS / 3 + 1);
	enter(&s, "d");
	count_targets(&s, ids, counts);
	roster_each (&s.roster, i)
		moved += strcmp(roster_at(&s.roster, i)->writer, roster_at(&s.roster, i)->target) !=
			 0;
	CHECK_EQ_INT(moved, 0);
	scene_end(&s);
}
