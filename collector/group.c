#include "group.h"

#include "etcd.h"

void group_init(struct group *g, struct roster *hosts, const char *id)
{
	*g = (struct group){.hosts = hosts, .id = id, .want_recovery = true};
}

void group_release(struct group *g)
{
	for (size_t i = 0; i < g->n_members; i++)
		free(g->members[i]);
	free(g->members);
	map_release(&g->alive);
}

/* ---- members --------------------------------------------------------------------------------- */

bool group_is_member(const struct group *g, const char *id)
{
	for (size_t i = 0; i < g->n_members; i++)
		if (!strcmp(g->members[i], id))
			return true;
	return false;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_member(struct group *g, struct slice key)
{
	char *id = xstrndup(key.p + strlen(KEY_CONSUMERS), key.len - strlen(KEY_CONSUMERS));

	if (group_is_member(g, id)) {
		free(id);
		return;
	}
	g->members = xrealloc(g->members, (g->n_members + 1) * sizeof(char *));
	g->members[g->n_members++] = id;
	qsort(g->members, g->n_members, sizeof(char *), by_text);
	g->hosts->placed = false;
}

static void remove_member(struct group *g, size_t i)
{
	roster_each (g->hosts, k) {
		struct host *h = roster_at(g->hosts, k);

		if (h->target == g->members[i])
			h->target = NULL;
	}
	free(g->members[i]);
	memmove(g->members + i, g->members + i + 1, (g->n_members - i - 1) * sizeof(char *));
	g->n_members--;
	g->hosts->placed = false;
	g->want_recovery = true;
}

void group_members_begin(struct group *g)
{
	while (g->n_members)
		remove_member(g, 0);
	g->members_listed = false;
}

void group_member_put(struct group *g, struct slice key)
{
	add_member(g, key);
}

void group_members_end(struct group *g)
{
	g->members_listed = true;
}

void group_member_delete(struct group *g, struct slice key)
{
	size_t skip = strlen(KEY_CONSUMERS);

	for (size_t i = 0; i < g->n_members; i++) {
		if (!slice_eq(slice_str(g->members[i]),
			      (struct slice){key.p + skip, key.len - skip}))
			continue;
		remove_member(g, i);
		return;
	}
}

bool group_is_first(const struct group *g)
{
	return g->members_listed && g->n_members && !strcmp(g->members[0], g->id);
}

/* ---- writers --------------------------------------------------------------------------------- */

void group_writers_begin(struct group *g)
{
	g->writers_listed = false;
	roster_each (g->hosts, i) {
		struct host *h = roster_at(g->hosts, i);

		free(h->writer);
		h->writer = NULL;
		h->writer_rev = 0;
	}
}

void group_writer_set(struct group *g, const struct etcd_kv *kv, bool deleted)
{
	size_t skip = strlen(KEY_WRITERS);
	struct host *h =
		roster_by_enc(g->hosts, (struct slice){kv->key.p + skip, kv->key.len - skip});

	if (!h || kv->mod_rev < h->writer_rev)
		return;
	free(h->writer);
	h->writer = deleted || !kv->value.len ? NULL : xstrndup(kv->value.p, kv->value.len);
	h->writer_rev = deleted ? 0 : kv->mod_rev;
	g->hosts->placed = false;
}

void group_writers_end(struct group *g)
{
	g->writers_listed = true;
}

/* ---- placement ------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct host *const *)a)->enc, (*(struct host *const *)b)->enc);
}

static uint64_t weight(const struct host *h, const char *member)
{
	return hash64(member, strlen(member), hash64(h->enc, strlen(h->enc), 0));
}

/* The member with the highest weight that has room. */
static size_t place(const struct group *g, const struct host *h, const size_t *load, size_t room)
{
	uint64_t best_weight = 0;
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < g->n_members; i++) {
		uint64_t w = weight(h, g->members[i]);

		if (load[i] < room && (best == SIZE_MAX || w > best_weight)) {
			best = i;
			best_weight = w;
		}
	}
	return best;
}

static size_t member_index(const struct group *g, const char *id)
{
	size_t i = 0;

	while (i < g->n_members && strcmp(g->members[i], id))
		i++;
	return i;
}

/* Hosts stay with their living writer as long as it has room, so that a newcomer moves no more of
 * them than it takes itself; the others go by weight. */
void group_place(struct group *g)
{
	uint32_t n = map_count(&g->hosts->by_name);
	struct host **list = xmalloc((n + 1) * sizeof(*list));
	size_t *load = xcalloc(g->n_members + 1, sizeof(*load));
	size_t room = g->n_members ? (n + g->n_members - 1) / g->n_members : 0;

	for (uint32_t i = 0; i < n; i++)
		list[i] = roster_at(g->hosts, i);
	qsort(list, n, sizeof(*list), by_name);
	for (uint32_t i = 0; i < n; i++) {
		size_t m = list[i]->writer ? member_index(g, list[i]->writer) : g->n_members;
		bool stays = m < g->n_members && load[m] < room;

		list[i]->target = stays ? g->members[m] : NULL;
		load[m] += stays;
	}
	for (uint32_t i = 0; i < n; i++) {
		size_t m = list[i]->target ? SIZE_MAX : place(g, list[i], load, room);

		if (m == SIZE_MAX)
			continue;
		list[i]->target = g->members[m];
		load[m]++;
	}
	free(load);
	free(list);
	g->hosts->placed = true;
}

bool group_is_target(const struct group *g, const struct host *h)
{
	return h->target && !strcmp(h->target, g->id);
}

bool group_is_writer(const struct group *g, const struct host *h)
{
	return h->writer && !strcmp(h->writer, g->id);
}

bool group_wants_away(const struct group *g, const struct host *h)
{
	return h->target && !group_is_target(g, h) && group_is_member(g, h->target);
}

/* ---- recovery -------------------------------------------------------------------------------- */

bool group_may_take(struct group *g, const struct host *h)
{
	if (!h->writer || group_is_writer(g, h))
		return true;
	if (group_is_member(g, h->writer))
		return false;
	if (g->recovery_listed_rev >= h->writer_rev && !map_get_str(&g->alive, h->writer))
		return true;
	g->want_recovery = true;
	return false;
}

void group_note_recovery(struct group *g, struct recovered *rec)
{
	map_release(&g->alive);
	g->alive = rec->alive;
	rec->alive = MAP_INIT;
	g->recovery_listed_rev = rec->listed_rev;
}
