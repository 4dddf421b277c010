#include "consumer.h"

#include "log.h"
#include "writer.h"

#include <stdio.h>

enum {
	ORPHAN_MS = 3000, /* a host that nobody took for so long is taken by whoever sees it */
	LOOK_MS = 1000,
};

void consumer_lock(struct consumer *c)
{
	pthread_mutex_lock(&c->lock);
}

void consumer_unlock(struct consumer *c)
{
	pthread_mutex_unlock(&c->lock);
}

void consumer_wake(struct consumer *c)
{
	for (unsigned i = 0; i < c->n_workers; i++)
		pthread_cond_signal(&c->work[i]);
	pthread_cond_broadcast(&c->changed);
}

/* ---- hosts ----------------------------------------------------------------------------------- */

static struct host *new_host(struct consumer *c, const char *name, const char *enc)
{
	struct host *h = xcalloc(1, sizeof(*h));

	h->name = xstrdup(name);
	memcpy(h->enc, enc, strlen(enc) + 1);
	h->worker = (unsigned)(hash64(enc, strlen(enc), 1) % c->n_workers);
	map_put(&c->hosts, name, strlen(name), h);
	map_put(&c->hosts_enc, enc, strlen(enc), h);
	c->assigned = false;
	return h;
}

/* NULL: no such name can be. */
static struct host *host_by_name(struct consumer *c, const char *name)
{
	struct host *h = map_get_str(&c->hosts, name);
	char enc[NAME_MAX_ENCODED + 1];

	if (!h && !name_encode_to(enc, slice_str(name)))
		h = new_host(c, name, enc);
	return h;
}

static struct host *host_by_enc(struct consumer *c, struct slice enc)
{
	struct host *h = map_get(&c->hosts_enc, enc.p, enc.len);
	char text[NAME_MAX_ENCODED + 1];
	struct strbuf name;

	if (h || enc.len > NAME_MAX_ENCODED)
		return h;
	memcpy(text, enc.p, enc.len);
	text[enc.len] = '\0';
	strbuf_init(&name, NAME_MAX_ENCODED);
	if (!name_decode(&name, enc))
		h = new_host(c, name.s, text);
	strbuf_release(&name);
	return h;
}

static void host_free(struct host *h)
{
	for (size_t i = 0; i < h->n_lanes; i++) {
		free(h->lanes[i]->source);
		free(h->lanes[i]->list);
		free(h->lanes[i]);
	}
	free(h->lanes);
	free(h->name);
	free(h->writer);
	free(h->take_from);
	writer_free(h->state);
	free(h);
}

/* ---- pending messages ------------------------------------------------------------------------ */

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

static bool is_last_attempt(const struct consumer *c, const struct message *m)
{
	return m->attempt > 0 && m->attempt + 1 >= c->max_retries;
}

/* Takes it out of all lists; the caller owns it. */
static void remove_pending(struct consumer *c, struct pending *p)
{
	struct host *h = p->lane->host;

	c->n_last -= is_last_attempt(c, &p->m);
	map_remove(&c->pending, p->m.ulid, ULID_LEN);
	h->n_pending--;
	lane_remove(p->lane, p);
	p->lane = NULL;
}

static void forget_pending(struct consumer *c, const char *ulid)
{
	struct pending *p = map_get(&c->pending, ulid, ULID_LEN);

	if (!p)
		return;
	remove_pending(c, p);
	message_release(&p->m);
	free(p);
}

static void note_misfit(struct consumer *c, const struct etcd_kv *kv, const char *reason)
{
	struct misfit *x;

	if (kv->key.len >= KEY_MAX || c->n_misfits == CONSUMER_MISFITS_MAX)
		return;
	if (!c->misfits)
		c->misfits = xcalloc(CONSUMER_MISFITS_MAX, sizeof(*c->misfits));
	x = &c->misfits[c->n_misfits++];
	*x = (struct misfit){.rev = kv->mod_rev};
	memcpy(x->key, kv->key.p, kv->key.len);
	snprintf(x->reason, sizeof(x->reason), "%.255s", reason);
}

int consumer_refuse_misfits(struct consumer *c, struct err *e)
{
	struct misfit *list;
	size_t n;
	int r = 0;

	consumer_lock(c);
	list = TAKE_PTR(c->misfits);
	n = c->n_misfits;
	c->n_misfits = 0;
	consumer_unlock(c);
	for (size_t i = 0; i < n && !r; i++) {
		log_warn("queue: %s is dead-lettered: %s", list[i].key, list[i].reason);
		r = queue_refuse(c->etcd, &c->fence, list[i].key, list[i].rev, list[i].reason, e);
	}
	free(list);
	if (n == CONSUMER_MISFITS_MAX)
		etcd_mirror_relist(c->queue_mirror);
	return r;
}

/* A message that there is no room for: what its lane has behind it must not be stored before it, so
 * that is forgotten too. Nothing is accepted any more until the queue is listed again. */
static void make_gap(struct consumer *c, const struct message *m)
{
	struct host *h = map_get_str(&c->hosts, m->host);
	size_t i = 0;

	while (h && i < h->n_lanes && strcmp(h->lanes[i]->source, m->source))
		i++;
	while (h && i < h->n_lanes && !strcmp(h->lanes[i]->source, m->source)) {
		struct pending *last = h->lanes[i]->list[h->lanes[i]->n - 1];

		if (!comes_before(m, &last->m))
			break;
		forget_pending(c, last->m.ulid);
	}
}

static void add_pending(struct consumer *c, const struct etcd_kv *kv)
{
	char ulid[ULID_LEN + 1];
	struct pending *p;
	struct message m;
	struct host *h;
	struct err e;

	if (key_parse_ulid(kv->key, ulid)) {
		note_misfit(c, kv, "its key is no ULID");
		return;
	}
	forget_pending(c, ulid);
	if (message_decode(ulid, kv->value, &m, &e)) {
		note_misfit(c, kv, e.text);
		return;
	}
	c->overflow = c->overflow || map_count(&c->pending) >= CONSUMER_PENDING_MAX;
	if (c->overflow) {
		make_gap(c, &m);
		message_release(&m);
		return;
	}
	h = host_by_name(c, m.host);
	if (!h) {
		note_misfit(c, kv, "its host's name cannot be a folder's");
		message_release(&m);
		return;
	}
	p = xcalloc(1, sizeof(*p));
	p->m = m;
	p->mod_rev = kv->mod_rev;
	map_put(&c->pending, ulid, ULID_LEN, p);
	if (!h->n_pending++)
		h->waiting_since = mono_now();
	c->n_last += is_last_attempt(c, &p->m);
	lane_insert(find_lane(h, m.source), p);
	pthread_cond_signal(&c->work[h->worker]);
}

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

/* Or stored in part, which counts the pairs of one message alone. */
static bool is_redelivered(const struct message *m)
{
	return m->attempt > 0 || m->part > 0;
}

bool consumer_is_redelivery(const struct host *h)
{
	const struct pending *p = first_pending(h);

	return p && is_redelivered(&p->m);
}

size_t consumer_take(struct consumer *c, struct host *h, struct claim *claims, size_t max,
		     size_t bytes)
{
	size_t n = 0, sum = 0;
	struct pending *p;

	while (n < max && (p = first_pending(h))) {
		bool redelivered = is_redelivered(&p->m);

		if (n && (redelivered || sum + (size_t)p->m.bytes > bytes))
			break;
		remove_pending(c, p);
		sum += (size_t)p->m.bytes;
		claims[n++] = (struct claim){.m = p->m, .queue_rev = p->mod_rev, .hold = &h->hold};
		free(p);
		if (redelivered)
			break;
	}
	h->waiting_since = mono_now();
	if (c->overflow && map_count(&c->pending) < CONSUMER_PENDING_MAX / 2) {
		c->overflow = false;
		etcd_mirror_relist(c->queue_mirror);
	}
	return n;
}

/* ---- placement ------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct host *const *)a)->enc, (*(struct host *const *)b)->enc);
}

static bool is_member(const struct consumer *c, const char *id)
{
	for (size_t i = 0; i < c->n_members; i++)
		if (!strcmp(c->members[i], id))
			return true;
	return false;
}

static uint64_t weight(const struct host *h, const char *member)
{
	return hash64(member, strlen(member), hash64(h->enc, strlen(h->enc), 0));
}

/* The member with the highest weight that has room. */
static size_t place(const struct consumer *c, const struct host *h, const size_t *load, size_t room)
{
	uint64_t best_weight = 0;
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < c->n_members; i++) {
		uint64_t w = weight(h, c->members[i]);

		if (load[i] < room && (best == SIZE_MAX || w > best_weight)) {
			best = i;
			best_weight = w;
		}
	}
	return best;
}

static size_t member_index(const struct consumer *c, const char *id)
{
	size_t i = 0;

	while (i < c->n_members && strcmp(c->members[i], id))
		i++;
	return i;
}

/* Hosts stay with their living writer as long as it has room, so that a newcomer moves no more of
 * them than it takes itself; the others go by weight. */
static void assign(struct consumer *c)
{
	uint32_t n = map_count(&c->hosts);
	struct host **list = xmalloc((n + 1) * sizeof(*list));
	size_t *load = xcalloc(c->n_members + 1, sizeof(*load));
	size_t room = c->n_members ? (n + c->n_members - 1) / c->n_members : 0;

	for (uint32_t i = 0; i < n; i++)
		list[i] = c->hosts.entries[i].value;
	qsort(list, n, sizeof(*list), by_name);
	for (uint32_t i = 0; i < n; i++) {
		size_t m = list[i]->writer ? member_index(c, list[i]->writer) : c->n_members;
		bool stays = m < c->n_members && load[m] < room;

		list[i]->target = stays ? c->members[m] : NULL;
		load[m] += stays;
	}
	for (uint32_t i = 0; i < n; i++) {
		size_t m = list[i]->target ? SIZE_MAX : place(c, list[i], load, room);

		if (m == SIZE_MAX)
			continue;
		list[i]->target = c->members[m];
		load[m]++;
	}
	free(load);
	free(list);
	c->assigned = true;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static bool is_target(const struct consumer *c, const struct host *h)
{
	return h->target && !strcmp(h->target, c->id);
}

static bool is_writer(const struct consumer *c, const struct host *h)
{
	return h->writer && !strcmp(h->writer, c->id);
}

/* Nobody has it (or this very session, by a transaction that was answered late), or its writer is
 * dead and all that it had claimed is back in the queue. */
static bool is_free(struct consumer *c, const struct host *h)
{
	if (!h->writer || is_writer(c, h))
		return true;
	if (is_member(c, h->writer))
		return false;
	if (c->recovery_listed_rev >= h->writer_rev && !map_get_str(&c->alive, h->writer))
		return true;
	c->want_recovery = true;
	return false;
}

static bool may_take(struct consumer *c, const struct host *h)
{
	if (!h->n_pending && !h->writer_rev)
		return false;
	if (!is_target(c, h) && !(h->n_pending && mono_ms_since(h->waiting_since) > ORPHAN_MS))
		return false;
	return is_free(c, h);
}

static enum task task_of(struct consumer *c, const struct host *h)
{
	if (h->busy || !c->queue_listed || !c->members_listed || !c->writers_listed)
		return TASK_NONE;
	if (!h->mine)
		return may_take(c, h) ? TASK_TAKE : TASK_NONE;
	if (h->empty && !h->n_pending)
		return TASK_RELEASE;
	/* A host that should be elsewhere is let go, once whoever should have it is there. */
	if (h->target && !is_target(c, h) && is_member(c, h->target))
		return TASK_RELEASE;
	if (h->n_pending && c->seen_rev >= h->mark_rev)
		return TASK_STORE;
	return mono_ms_until(h->sweep) ? TASK_NONE : TASK_SWEEP;
}

void consumer_wait(struct consumer *c, int64_t ms)
{
	int64_t at = mono_now().ns + ms * NS_PER_MS;
	struct timespec ts = {at / NS_PER_SEC, at % NS_PER_SEC};

	pthread_cond_timedwait(&c->changed, &c->lock, &ts);
}

/* It could be stored now but that its next message has one attempt left. */
static bool wants_solo(struct consumer *c, const struct host *h, struct mono now)
{
	return h->due.ns <= now.ns && task_of(c, h) == TASK_STORE &&
	       is_last_attempt(c, &first_pending(h)->m);
}

static bool anyone_wants_solo(struct consumer *c, struct mono now)
{
	if (c->n_last)
		map_each (&c->hosts, i)
			if (wants_solo(c, c->hosts.entries[i].value, now))
				return true;
	return false;
}

enum task consumer_next(struct consumer *c, unsigned worker, struct host **ret,
			struct mono *ret_when)
{
	struct mono now = mono_now(), when = {now.ns + LOOK_MS * NS_PER_MS};
	enum task best = TASK_NONE;
	struct host *chosen = NULL;
	bool solo;

	if (!c->assigned)
		assign(c);
	solo = anyone_wants_solo(c, now);
	map_each (&c->hosts, i) {
		struct host *h = c->hosts.entries[i].value;
		enum task t = h->worker == worker ? task_of(c, h) : TASK_NONE;

		if (t == TASK_NONE)
			continue;
		if (t == TASK_STORE &&
		    (c->solo || (solo && (c->storing || !wants_solo(c, h, now)))))
			continue; /* consumer_stored wakes us */
		if (h->due.ns > now.ns) {
			when.ns = MIN(when.ns, h->due.ns);
			continue;
		}
		if (!chosen || (best == TASK_SWEEP && t != TASK_SWEEP) ||
		    (h->due.ns < chosen->due.ns && (t != TASK_SWEEP || best == TASK_SWEEP))) {
			chosen = h;
			best = t;
		}
	}
	if (chosen)
		chosen->busy = true;
	if (best == TASK_STORE) {
		c->storing++;
		c->solo = solo;
	}
	if (best == TASK_TAKE) {
		free(chosen->take_from);
		chosen->take_from =
			chosen->writer && !is_writer(c, chosen) ? xstrdup(chosen->writer) : NULL;
		chosen->take_rev = chosen->writer_rev;
	}
	*ret = chosen;
	*ret_when = when;
	return best;
}

struct host *consumer_another(struct consumer *c, unsigned worker)
{
	struct mono now = mono_now();

	map_each (&c->hosts, i) {
		struct host *h = c->hosts.entries[i].value;

		if (h->worker == worker && h->due.ns <= now.ns && task_of(c, h) == TASK_STORE &&
		    !consumer_is_redelivery(h)) {
			h->busy = true;
			return h;
		}
	}
	return NULL;
}

void consumer_stored(struct consumer *c)
{
	c->storing--;
	if (c->solo || c->n_last)
		consumer_wake(c);
	c->solo = false;
}

void consumer_done(struct consumer *c, struct host *h, int64_t due_in_ms)
{
	h->busy = false;
	h->due = mono_in_ms(due_in_ms);
	pthread_cond_broadcast(&c->changed);
}

bool consumer_idle(struct consumer *c)
{
	return c->queue_listed && !c->overflow && !c->n_misfits && !map_count(&c->pending);
}

/* ---- queue ----------------------------------------------------------------------------------- */

static bool in_queue(struct slice key)
{
	return key.len > strlen(KEY_QUEUE) && !memcmp(key.p, KEY_QUEUE, strlen(KEY_QUEUE));
}

static void queue_list_begin(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	map_release(&c->listed);
	c->overflow = false;
	consumer_unlock(c);
}

static void queue_list_kv(const struct etcd_kv *kv, void *arg)
{
	struct consumer *c = arg;

	if (!in_queue(kv->key))
		return;
	consumer_lock(c);
	map_put(&c->listed, kv->key.p, kv->key.len, c);
	add_pending(c, kv);
	consumer_unlock(c);
}

static void queue_list_end(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	map_each (&c->pending, i) {
		struct pending *p = c->pending.entries[i].value;

		if (!map_get_str(&c->listed, key_queue(p->m.ulid).s))
			forget_pending(c, p->m.ulid);
	}
	map_release(&c->listed);
	c->seen_rev = rev;
	c->queue_listed = true;
	consumer_wake(c);
	consumer_unlock(c);
}

static void queue_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct consumer *c = arg;
	char ulid[ULID_LEN + 1];

	consumer_lock(c);
	for (size_t i = 0; i < n; i++) {
		if (!in_queue(events[i].kv.key))
			continue;
		if (!events[i].deleted)
			add_pending(c, &events[i].kv);
		else if (!key_parse_ulid(events[i].kv.key, ulid))
			forget_pending(c, ulid);
	}
	c->seen_rev = rev;
	if (n && !in_queue(events[0].kv.key))
		consumer_wake(c); /* a mark */
	pthread_cond_broadcast(&c->changed);
	consumer_unlock(c);
}

/* ---- members --------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_member(struct consumer *c, struct slice key)
{
	char *id = xstrndup(key.p + strlen(KEY_CONSUMERS), key.len - strlen(KEY_CONSUMERS));

	if (is_member(c, id)) {
		free(id);
		return;
	}
	c->members = xrealloc(c->members, (c->n_members + 1) * sizeof(char *));
	c->members[c->n_members++] = id;
	qsort(c->members, c->n_members, sizeof(char *), by_text);
	c->assigned = false;
}

static void remove_member(struct consumer *c, size_t i)
{
	map_each (&c->hosts, k) {
		struct host *h = c->hosts.entries[k].value;

		if (h->target == c->members[i])
			h->target = NULL;
	}
	free(c->members[i]);
	memmove(c->members + i, c->members + i + 1, (c->n_members - i - 1) * sizeof(char *));
	c->n_members--;
	c->assigned = false;
	c->want_recovery = true;
}

static void members_list_begin(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	while (c->n_members)
		remove_member(c, 0);
	c->members_listed = false;
	consumer_unlock(c);
}

static void members_list_kv(const struct etcd_kv *kv, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	add_member(c, kv->key);
	consumer_unlock(c);
}

static void members_list_end(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	c->members_listed = true;
	consumer_wake(c);
	consumer_unlock(c);
}

static void members_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct consumer *c = arg;
	size_t skip = strlen(KEY_CONSUMERS);

	consumer_lock(c);
	for (size_t i = 0; i < n; i++) {
		if (!events[i].deleted)
			add_member(c, events[i].kv.key);
		for (size_t k = 0; events[i].deleted && k < c->n_members; k++)
			if (slice_eq(slice_str(c->members[k]),
				     (struct slice){events[i].kv.key.p + skip,
						    events[i].kv.key.len - skip})) {
				remove_member(c, k);
				break;
			}
	}
	consumer_wake(c);
	consumer_unlock(c);
}

/* ---- writers --------------------------------------------------------------------------------- */

static void set_writer(struct consumer *c, const struct etcd_kv *kv, bool deleted)
{
	size_t skip = strlen(KEY_WRITERS);
	struct host *h = host_by_enc(c, (struct slice){kv->key.p + skip, kv->key.len - skip});

	if (!h || kv->mod_rev < h->writer_rev)
		return;
	free(h->writer);
	h->writer = deleted || !kv->value.len ? NULL : xstrndup(kv->value.p, kv->value.len);
	h->writer_rev = deleted ? 0 : kv->mod_rev;
	c->assigned = false;
}

static void writers_list_begin(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	c->writers_listed = false;
	map_each (&c->hosts, i) {
		struct host *h = c->hosts.entries[i].value;

		free(h->writer);
		h->writer = NULL;
		h->writer_rev = 0;
	}
	consumer_unlock(c);
}

static void writers_list_kv(const struct etcd_kv *kv, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	set_writer(c, kv, false);
	consumer_unlock(c);
}

static void writers_list_end(int64_t rev, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	c->writers_listed = true;
	consumer_wake(c);
	consumer_unlock(c);
}

static void writers_commit(int64_t rev, const struct etcd_event *events, size_t n, void *arg)
{
	struct consumer *c = arg;

	consumer_lock(c);
	for (size_t i = 0; i < n; i++)
		set_writer(c, &events[i].kv, events[i].deleted);
	consumer_wake(c);
	consumer_unlock(c);
}

/* ---- life ------------------------------------------------------------------------------------ */

static const struct etcd_mirror_ops queue_ops = {queue_list_begin, queue_list_kv, queue_list_end,
						 queue_commit,     NULL,          NULL};
static const struct etcd_mirror_ops members_ops = {
	members_list_begin, members_list_kv, members_list_end, members_commit, NULL, NULL};
static const struct etcd_mirror_ops writers_ops = {
	writers_list_begin, writers_list_kv, writers_list_end, writers_commit, NULL, NULL};

static int follow(struct consumer *c, const char *prefix, const struct etcd_mirror_ops *ops,
		  struct etcd_mirror **ret, struct err *e)
{
	return etcd_mirror_start(ret, c->etcd, prefix, key_prefix_end(prefix).s, ops, c, e);
}

void consumer_init(struct consumer *c, struct etcd *etcd, const char *id, unsigned n_workers,
		   int64_t flush_ms)
{
	pthread_condattr_t attr;

	*c = (struct consumer){
		.etcd = etcd, .n_workers = n_workers, .flush_ms = flush_ms, .want_recovery = true};
	snprintf(c->id, sizeof(c->id), "%s", id);
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	c->work = xcalloc(n_workers, sizeof(*c->work));
	for (unsigned i = 0; i < n_workers; i++)
		pthread_cond_init(&c->work[i], &attr);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
}

int consumer_follow(struct consumer *c, int64_t session, struct err *e)
{
	int r;

	c->fence = (struct fence){c->id, session};
	r = follow(c, KEY_CONSUMERS, &members_ops, &c->members_mirror, e);
	if (!r)
		r = follow(c, KEY_WRITERS, &writers_ops, &c->writers_mirror, e);
	if (!r)
		r = follow(c, KEY_QUEUE_ALL, &queue_ops, &c->queue_mirror, e);
	return r;
}

void consumer_unfollow(struct consumer *c)
{
	etcd_mirror_stop(c->queue_mirror);
	etcd_mirror_stop(c->writers_mirror);
	etcd_mirror_stop(c->members_mirror);
	c->queue_mirror = c->writers_mirror = c->members_mirror = NULL;
}

void consumer_release(struct consumer *c)
{
	map_each (&c->pending, i) {
		struct pending *p = c->pending.entries[i].value;

		message_release(&p->m);
		free(p);
	}
	map_each (&c->hosts, i)
		host_free(c->hosts.entries[i].value);
	for (size_t i = 0; i < c->n_members; i++)
		free(c->members[i]);
	free(c->members);
	free(c->misfits);
	map_release(&c->pending);
	map_release(&c->hosts);
	map_release(&c->hosts_enc);
	map_release(&c->listed);
	map_release(&c->alive);
	for (unsigned i = 0; i < c->n_workers; i++)
		pthread_cond_destroy(&c->work[i]);
	free(c->work);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
}
