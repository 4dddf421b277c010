#include "filter.h"

#include <fnmatch.h>

static const char *const names[] = {
	[FILTER_HOST] = "host",
	[FILTER_GPU] = "gpu",
	[FILTER_UUID] = "uuid",
	[FILTER_METRIC] = "metric",
};

int filter_kind_of(const char *name, enum filter_kind *ret)
{
	for (int i = 0; i < FILTER_KINDS; i++)
		if (strcmp(names[i], name) == 0) {
			*ret = (enum filter_kind)i;
			return 0;
		}
	return -ENOENT;
}

/* Kept sorted and without repeats, so that the order in which they were given does not matter. */
int filter_add(struct filter *f, enum filter_kind kind, struct slice glob)
{
	struct glob **list = &f->globs[kind];
	size_t n = f->n[kind], at = 0;

	while (at < n && slice_cmp(slice_str((*list)[at].text), glob) < 0)
		at++;
	if (at < n && slice_eq(slice_str((*list)[at].text), glob))
		return 0;
	if (n == FILTER_GLOBS_MAX)
		return -E2BIG;
	*list = xrealloc(*list, (n + 1) * sizeof(**list));
	memmove(*list + at + 1, *list + at, (n - at) * sizeof(**list));
	(*list)[at].text = xstrndup(glob.p, glob.len);
	(*list)[at].literal = !strpbrk((*list)[at].text, "*?[\\");
	f->n[kind]++;
	return 0;
}

static bool glob_matches(const struct glob *g, const char *name)
{
	return g->literal ? strcmp(g->text, name) == 0 : fnmatch(g->text, name, 0) == 0;
}

bool filter_matches(const struct filter *f, enum filter_kind kind, const char *name)
{
	bool matches = f->n[kind] == 0;

	for (size_t i = 0; i < f->n[kind] && !matches; i++)
		matches = glob_matches(&f->globs[kind][i], name);
	return matches;
}

void filter_canonical(const struct filter *f, struct strbuf *out)
{
	for (int k = 0; k < FILTER_KINDS; k++) {
		strbuf_add_varint(out, f->n[k]);
		for (size_t i = 0; i < f->n[k]; i++)
			strbuf_add_lstr(out, slice_str(f->globs[k][i].text));
	}
}

void filter_copy(struct filter *ret, const struct filter *f)
{
	*ret = *f;
	for (int k = 0; k < FILTER_KINDS; k++) {
		ret->globs[k] = xcalloc(f->n[k] + 1, sizeof(*ret->globs[k]));
		for (size_t i = 0; i < f->n[k]; i++)
			ret->globs[k][i] =
				(struct glob){xstrdup(f->globs[k][i].text), f->globs[k][i].literal};
	}
}

void filter_release(struct filter *f)
{
	for (int k = 0; k < FILTER_KINDS; k++) {
		for (size_t i = 0; i < f->n[k]; i++)
			free(f->globs[k][i].text);
		free(f->globs[k]);
	}
	*f = (struct filter){0};
}
