#include "hosts.h"

#include <fnmatch.h>
#include <stdio.h>

#define WILDCARDS "*?[\\"

int hosts_add(struct hosts *h, const char *glob, struct err *e)
{
	if (!*glob || strchr(glob, '/') || strlen(glob) > NAME_MAX_ENCODED)
		return err_set(e, -EINVAL, "host: expected a name or glob, got \"%.*s\"",
			       NAME_MAX_ENCODED, glob);
	if (h->n == HOSTS_MAX)
		return err_set(e, -ENOSPC, "host: at most %d", HOSTS_MAX);
	h->globs[h->n++] = xstrdup(glob);
	return 0;
}

void hosts_release(struct hosts *h)
{
	while (h->n)
		free(h->globs[--h->n]);
}

bool hosts_match(const struct hosts *h, struct slice encoded)
{
	char name[NAME_MAX_ENCODED + 1];

	if (h->n == 0)
		return true;
	if (encoded.len > NAME_MAX_ENCODED)
		return false;
	memcpy(name, encoded.p, encoded.len);
	name[encoded.len] = '\0';
	for (size_t i = 0; i < h->n; i++)
		if (fnmatch(h->globs[i], name, 0) == 0)
			return true;
	return false;
}

void hosts_describe(const struct hosts *h, struct strbuf *out)
{
	for (size_t i = 0; i < h->n; i++)
		strbuf_addf(out, "%s%s", i ? "," : "", h->globs[i]);
}

/* ---- ranges ---------------------------------------------------------------------------------- */

/* What every name begins with that the glob matches: with a '/' behind it, the whole name. */
static void literal_of(const char *glob, char ret[NAME_MAX_ENCODED + 2])
{
	size_t n = strcspn(glob, WILDCARDS);

	snprintf(ret, NAME_MAX_ENCODED + 2, "%.*s%s", (int)n, glob, glob[n] ? "" : "/");
}

static void add_span(struct hosts_spans *s, const char *base, const char *literal)
{
	struct key *keys = &s->keys[2 * s->n];

	snprintf(keys[0].s, sizeof(keys[0].s), "%s%s", base, literal);
	keys[1] = key_prefix_end(keys[0].s);
	s->list[s->n++] = (struct etcd_span){keys[0].s, keys[1].s};
}

/* Whether another of the globs covers all that begins like this one. */
static bool is_covered(const struct hosts *h, size_t i, const char *literal)
{
	char other[NAME_MAX_ENCODED + 2];

	for (size_t j = 0; j < h->n; j++) {
		literal_of(h->globs[j], other);
		if (j != i && !strncmp(literal, other, strlen(other)) &&
		    (strcmp(literal, other) || j < i))
			return true;
	}
	return false;
}

static bool is_limited(const struct hosts *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (strchr(WILDCARDS, h->globs[i][0]))
			return false;
	return h->n > 0;
}

void hosts_spans(const struct hosts *h, struct hosts_spans *ret)
{
	char literal[NAME_MAX_ENCODED + 2];

	ret->n = 0;
	if (!is_limited(h)) {
		ret->list[ret->n++] = (struct etcd_span){KEY_VIEW, KEY_VIEW_END};
		return;
	}
	ret->list[ret->n++] = (struct etcd_span){KEY_CONFIG, NULL};
	for (size_t i = 0; i < h->n; i++) {
		literal_of(h->globs[i], literal);
		if (is_covered(h, i, literal))
			continue;
		add_span(ret, KEY_GPUS, literal);
		add_span(ret, KEY_DATA, literal);
	}
}
