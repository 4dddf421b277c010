#include "backlog.h"

#include "etcd.h"

#include <stdio.h>

void backlog_init(struct backlog *b, struct roster *hosts, int64_t max_retries)
{
	*b = (struct backlog){.hosts = hosts, .max_retries = max_retries, .max = BACKLOG_MAX};
}

/* ---- lanes ----------------------------------------------------------------------------------- */

static struct lane *find_lane(struct host *h, const char *source)
{
	struct lane *l;

	for (size_t i = 0; i < h->n_lanes; i++)
		if (!strcmp(h->lanes[i]->source, source))
			return h->lanes[i];
	l = xcalloc(1, sizeof(*l));
	l->host = h;
	l->source = xstrdup(source);
	h->lanes = xrealloc(h->lanes, (h->n_lanes + 1) * sizeof(struct lane *));
	h->lanes[h->n_lanes++] = l;
	return l;
}

static void drop_lane(struct lane *l)
{
	struct host *h = l->host;

	for (size_t i = 0; i < h->n_lanes; i++)
		if (h->lanes[i] == l)
			h->lanes[i] = h->lanes[--h->n_lanes];
	free(l->source);
	free(l->list);
	free(l);
}

static bool comes_before(const struct message *a, const struct message *b)
{
	return a->sequence != b->sequence ? a->sequence < b->sequence
					  : strcmp(a->ulid, b->ulid) < 0;
}

static void lane_insert(struct lane *l, struct pending *p)
{
	size_t at;

	if (l->n == l->cap) {
		if (l->head)
			memmove(l->list, l->list + l->head, (l->n - l->head) * sizeof(*l->list));
		l->n -= l->head;
		l->head = 0;
		if (l->n >= l->cap / 2) {
			l->cap = l->cap ? 2 * l->cap : 8;
			l->list = xrealloc(l->list, l->cap * sizeof(*l->list));
		}
	}
	for (at = l->n; at > l->head && comes_before(&p->m, &l->list[at - 1]->m); at--)
		l->list[at] = l->list[at - 1];
	l->list[at] = p;
	l->n++;
	p->lane = l;
}

static void lane_remove(struct lane *l, struct pending *p)
{
	size_t at = l->head;

	while (l->list[at] != p)
		at++;
	if (at == l->head) {
		l->head++;
	} else {
		memmove(l->list + at, l->list + at + 1, (l->n - at - 1) * sizeof(*l->list));
		l->n--;
	}
	if (l->head == l->n)
		drop_lane(l);
}

/* ---- pending --------------------------------------------------------------------------------- */

bool backlog_is_last_attempt(const struct backlog *b, const struct message *m)
{
	return m->attempt > 0 && m->attempt + 1 >= b->max_retries;
}

/* Takes it out of all lists; the caller owns it. */
static void remove_pending(struct backlog *b, struct pending *p)
{
	struct host *h = p->lane->host;

	b->n_last -= backlog_is_last_attempt(b, &p->m);
	map_remove(&b->pending, p->m.ulid, ULID_LEN);
	h->n_pending--;
	lane_remove(p->lane, p);
	p->lane = NULL;
}

static void forget_pending(struct backlog *b, const char *ulid)
{
	struct pending *p = map_get(&b->pending, ulid, ULID_LEN);

	if (!p)
		return;
	remove_pending(b, p);
	message_release(&p->m);
	free(p);
}

static void note_misfit(struct backlog *b, const struct etcd_kv *kv, const char *reason)
{
	struct misfit *x;

	if (kv->key.len >= KEY_MAX || b->n_misfits == BACKLOG_MISFITS_MAX)
		return;
	if (!b->misfits)
		b->misfits = xcalloc(BACKLOG_MISFITS_MAX, sizeof(*b->misfits));
	x = &b->misfits[b->n_misfits++];
	*x = (struct misfit){.rev = kv->mod_rev};
	memcpy(x->key, kv->key.p, kv->key.len);
	snprintf(x->reason, sizeof(x->reason), "%.255s", reason);
}

/* A message that there is no room for: what its lane has behind it must not be stored before it, so
 * that is forgotten too. Nothing is accepted any more until the queue is listed again. */
static void make_gap(struct backlog *b, const struct message *m)
{
	struct host *h = map_get_str(&b->hosts->by_name, m->host);
	size_t i = 0;

	while (h && i < h->n_lanes && strcmp(h->lanes[i]->source, m->source))
		i++;
	while (h && i < h->n_lanes && !strcmp(h->lanes[i]->source, m->source)) {
		struct pending *last = h->lanes[i]->list[h->lanes[i]->n - 1];

		if (!comes_before(m, &last->m))
			break;
		forget_pending(b, last->m.ulid);
	}
}

static void add_pending(struct backlog *b, struct host *h, const struct message *m, int64_t mod_rev)
{
	struct pending *p = xcalloc(1, sizeof(*p));

	p->m = *m;
	p->mod_rev = mod_rev;
	map_put(&b->pending, m->ulid, ULID_LEN, p);
	if (!h->n_pending++)
		h->waiting_since = mono_now();
	b->n_last += backlog_is_last_attempt(b, m);
	lane_insert(find_lane(h, m->source), p);
}

struct host *backlog_put(struct backlog *b, const struct etcd_kv *kv)
{
	char ulid[ULID_LEN + 1];
	struct message m;
	struct host *h;
	struct err e;

	if (key_parse_ulid(kv->key, ulid)) {
		note_misfit(b, kv,
			    "its key is no ULID: expected 26 of 0-9 and A-Z without I, L, O and U, "
			    "the first at most 7");
		return NULL;
	}
	forget_pending(b, ulid);
	if (message_decode(ulid, kv->value, &m, &e)) {
		note_misfit(b, kv, e.text);
		return NULL;
	}
	b->overflow = b->overflow || map_count(&b->pending) >= b->max;
	if (b->overflow) {
		make_gap(b, &m);
		message_release(&m);
		return NULL;
	}
	h = roster_by_name(b->hosts, m.host);
	if (!h) {
		note_misfit(b, kv, "its host's name cannot be a folder's");
		message_release(&m);
		return NULL;
	}
	add_pending(b, h, &m, kv->mod_rev);
	return h;
}

void backlog_delete(struct backlog *b, struct slice key)
{
	char ulid[ULID_LEN + 1];

	if (!key_parse_ulid(key, ulid))
		forget_pending(b, ulid);
}

/* ---- the list -------------------------------------------------------------------------------- */

void backlog_list_begin(struct backlog *b)
{
	map_release(&b->listed);
	b->overflow = false;
}

void backlog_list_kv(struct backlog *b, const struct etcd_kv *kv)
{
	map_put(&b->listed, kv->key.p, kv->key.len, b);
	backlog_put(b, kv);
}

void backlog_list_end(struct backlog *b)
{
	map_each (&b->pending, i) {
		struct pending *p = b->pending.entries[i].value;

		if (!map_get_str(&b->listed, key_queue(p->m.ulid).s))
			forget_pending(b, p->m.ulid);
	}
	map_release(&b->listed);
	b->is_listed = true;
}

/* ---- taking ---------------------------------------------------------------------------------- */

/* The oldest head of all lanes goes first. */
static struct pending *first_pending(const struct host *h)
{
	struct pending *best = NULL;

	for (size_t i = 0; i < h->n_lanes; i++) {
		struct pending *p = h->lanes[i]->list[h->lanes[i]->head];

		if (!best || strcmp(p->m.ulid, best->m.ulid) < 0)
			best = p;
	}
	return best;
}

const struct pending *backlog_first(const struct host *h)
{
	return first_pending(h);
}

static bool is_redelivered(const struct message *m)
{
	return m->attempt > 0 || m->part > 0;
}

bool backlog_first_is_redelivery(const struct host *h)
{
	const struct pending *p = first_pending(h);

	return p && is_redelivered(&p->m);
}

size_t backlog_take(struct backlog *b, struct host *h, struct claim *claims, size_t max,
		    size_t bytes)
{
	size_t n = 0, sum = 0;
	struct pending *p;

	while (n < max && (p = first_pending(h))) {
		bool redelivered = is_redelivered(&p->m);

		if (n && (redelivered || sum + message_bytes(&p->m) > bytes))
			break;
		remove_pending(b, p);
		sum += message_bytes(&p->m);
		claims[n++] = (struct claim){.m = p->m, .queue_rev = p->mod_rev, .hold = &h->hold};
		free(p);
		if (redelivered)
			break;
	}
	h->waiting_since = mono_now();
	return n;
}

bool backlog_wants_list(struct backlog *b)
{
	bool wants = b->overflow && map_count(&b->pending) < b->max / 2;

	b->overflow = b->overflow && !wants;
	return wants;
}

struct misfit *backlog_take_misfits(struct backlog *b, size_t *ret_n)
{
	*ret_n = b->n_misfits;
	b->n_misfits = 0;
	return TAKE_PTR(b->misfits);
}

bool backlog_is_empty(const struct backlog *b)
{
	return b->is_listed && !b->overflow && !b->n_misfits && !map_count(&b->pending);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void drop_lanes(struct host *h)
{
	while (h->n_lanes)
		drop_lane(h->lanes[0]);
	h->n_pending = 0;
}

void backlog_release(struct backlog *b)
{
	roster_each (b->hosts, i)
		drop_lanes(roster_at(b->hosts, i));
	map_each (&b->pending, i) {
		struct pending *p = b->pending.entries[i].value;

		message_release(&p->m);
		free(p);
	}
	map_release(&b->pending);
	map_release(&b->listed);
	free(b->misfits);
}
