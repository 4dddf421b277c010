#include "lookup.h"

#include "clock.h"
#include "daemon.h"
#include "keys.h"
#include "log.h"

#include <stdio.h>

struct lookup {
	const struct source_head *head;
	int fd;
	struct producer best; /* longest head among those that fit */
	bool found;
	bool changed; /* a record began alike, but what it published is not what stands here */
};

/* A record's key below /producers/: "{id}" or "{id}-{N}", nothing after it. */
static bool parse_source(struct slice key, struct source_id *ret, char source[SOURCE_ID_MAX])
{
	size_t skip = strlen(KEY_PRODUCERS), len = key.len - skip;

	if (key.len < skip + SOURCE_ID_LEN || len >= SOURCE_ID_MAX ||
	    memchr(key.p + skip, '/', len) ||
	    (len > SOURCE_ID_LEN && key.p[skip + SOURCE_ID_LEN] != '-'))
		return false;
	memcpy(source, key.p + skip, len);
	source[len] = '\0';
	memcpy(ret->text, source, SOURCE_ID_LEN);
	ret->text[SOURCE_ID_LEN] = '\0';
	return true;
}

/* Also that an open window is still there to be read again. */
static bool published_part_is_same(int fd, const struct producer *p)
{
	uint8_t sha[SHA256_LEN];
	char text[2 * SHA256_LEN + 1];

	if (p->window_end && !source_reaches(fd, p->window_end))
		return false;
	if (!p->offset || !p->fingerprint[0])
		return p->offset == 0;
	if (source_fingerprint(fd, p->offset, sha))
		return false;
	hex(sha, sizeof(sha), text);
	return !strcmp(text, p->fingerprint);
}

static int consider(const struct etcd_kv *kv, void *arg)
{
	struct lookup *l = arg;
	struct source_id id;
	char source[SOURCE_ID_MAX];
	struct producer p;

	if (!parse_source(kv->key, &id, source) || producer_decode(source, kv, &p, NULL))
		return 0;
	id.len = (uint32_t)p.prefix_len;
	if (!source_match(l->head, &id))
		return 0;
	if (!published_part_is_same(l->fd, &p)) {
		l->changed = true;
	} else if (!l->found || p.prefix_len > l->best.prefix_len ||
		   (p.prefix_len == l->best.prefix_len && p.offset > l->best.offset)) {
		l->best = p;
		l->found = true;
	}
	return 0;
}

/* Runs a read until etcd answers. */
static int persist(int (*fn)(struct etcd *c, void *arg, struct err *e), struct etcd *c, void *arg,
		   struct err *e)
{
	struct backoff b = {0};
	int r;

	while ((r = fn(c, arg, e)) && etcd_transient(r))
		if (daemon_sleep_ms(backoff_next_ms(&b, 100, 3000)))
			return err_set(e, -ECANCELED, "stopped while etcd was not to be reached");
	return r;
}

static int scan(struct etcd *c, void *arg, struct err *e)
{
	struct lookup *l = arg;

	l->found = false;
	l->changed = false;
	return etcd_each(c, KEY_PRODUCERS, key_prefix_end(KEY_PRODUCERS).s, 0, 0, consider, l, NULL,
			 e);
}

static void set_name(struct producer *p, const char *path)
{
	size_t len = strlen(path), keep = MIN(len, sizeof(p->name) - 1);

	memcpy(p->name, path + len - keep, keep);
	p->name[keep] = '\0';
}

static void fresh(const struct lookup *l, const char *path, struct producer *ret)
{
	struct source_id id = source_identify(l->head);

	*ret = (struct producer){.line = 1, .prefix_len = id.len, .throttle_rate = 1};
	set_name(ret, path);
	if (!l->changed) {
		snprintf(ret->source, sizeof(ret->source), "%s", id.text);
		return;
	}
	/* The id of its head is taken, by content that is no more: number the variant at random, so
	 * that two streamers that find this at once do not collide. */
	snprintf(ret->source, sizeof(ret->source), "%s-%llx", id.text,
		 (unsigned long long)random_u64());
	log_warn("%s: the part that was published before has changed since; it is taken as a new "
		 "source and published from its start",
		 path);
}

int lookup_file(struct etcd *c, int fd, const char *path, struct producer *ret, struct err *e)
{
	struct source_head head;
	struct lookup l = {.head = &head, .fd = fd};
	int r = source_read_head(fd, &head);

	if (r)
		return err_set(e, r, "%s: %s", path, strerror(-r));
	r = persist(scan, c, &l, e);
	if (r)
		return r;
	if (l.found)
		*ret = l.best;
	else
		fresh(&l, path, ret);
	return 0;
}

/* ---- several files --------------------------------------------------------------------------- */

struct survey {
	const int *fds;
	struct source_head *heads;
	size_t n;
	int64_t *offsets;
};

static int survey_record(const struct etcd_kv *kv, void *arg)
{
	struct survey *s = arg;
	struct source_id id;
	char source[SOURCE_ID_MAX];
	struct producer p;

	if (!parse_source(kv->key, &id, source) || producer_decode(source, kv, &p, NULL))
		return 0;
	id.len = (uint32_t)p.prefix_len;
	for (size_t i = 0; i < s->n; i++) {
		if (!source_match(&s->heads[i], &id) || !published_part_is_same(s->fds[i], &p))
			continue;
		s->offsets[i] = MAX(s->offsets[i], p.offset);
		break;
	}
	return 0;
}

static int survey(struct etcd *c, void *arg, struct err *e)
{
	struct survey *s = arg;

	for (size_t i = 0; i < s->n; i++)
		s->offsets[i] = -1;
	return etcd_each(c, KEY_PRODUCERS, key_prefix_end(KEY_PRODUCERS).s, 0, 0, survey_record, s,
			 NULL, e);
}

int lookup_published(struct etcd *c, const int *fds, size_t n, int64_t *ret_offsets, struct err *e)
{
	struct survey s = {.fds = fds, .n = n, .offsets = ret_offsets};
	int r;

	s.heads = xcalloc(n + 1, sizeof(*s.heads));
	for (size_t i = 0; i < n; i++)
		if (source_read_head(fds[i], &s.heads[i]))
			s.heads[i].len = 0;
	r = persist(survey, c, &s, e);
	free(s.heads);
	return r;
}

void lookup_pipe(const char *path, struct producer *ret)
{
	struct source_id id = source_id_new();

	*ret = (struct producer){.line = 1, .throttle_rate = 1};
	set_name(ret, path);
	snprintf(ret->source, sizeof(ret->source), "%s", id.text);
}
