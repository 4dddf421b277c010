/* Folders of links: GPUs filed under what their newest sample says of them. */
#include "tree_internal.h"

#include <stdio.h>

#define PATH_BYTES (2 * NAME_MAX_ENCODED + 16)

/* ---- the folders ----------------------------------------------------------------------------- */

const struct facet *facet_below(const struct facet *f, const char *name)
{
	return f ? map_get_str(&f->below, name) : NULL;
}

/* Found or made. */
static struct facet *take_below(struct facet *f, struct slice name)
{
	struct facet *below = map_get(&f->below, name.p, name.len);

	if (!below) {
		below = xcalloc(1, sizeof(*below));
		map_put(&f->below, name.p, name.len, below);
	}
	return below;
}

static struct slice first_of(const char *path)
{
	return (struct slice){path, (size_t)(strchrnul(path, '/') - path)};
}

static void file(struct facet *f, const char *path, const char *member, struct gpu *g)
{
	struct slice name = first_of(path);

	if (name.len == 0) {
		if (!map_get_str(&f->members, member))
			map_put(&f->members, member, strlen(member), g);
		return;
	}
	file(take_below(f, name), path + name.len + (path[name.len] == '/'), member, g);
}

/* Folders go with their last entry. */
static void unfile(struct facet *f, const char *path, const char *member, const struct gpu *g)
{
	struct slice name = first_of(path);
	struct facet *below;

	if (name.len == 0) {
		if (map_get_str(&f->members, member) == g)
			map_remove(&f->members, member, strlen(member));
		return;
	}
	below = map_get(&f->below, name.p, name.len);
	unfile(below, path + name.len + (path[name.len] == '/'), member, g);
	if (map_count(&below->below) || map_count(&below->members))
		return;
	map_remove(&f->below, name.p, name.len);
	facet_release(below);
	free(below);
}

void facet_release(struct facet *f)
{
	map_each (&f->below, i) {
		struct facet *below = f->below.entries[i].value;

		facet_release(below);
		free(below);
	}
	map_release(&f->below);
	map_release(&f->members);
}

/* ---- what a GPU is filed under --------------------------------------------------------------- */

struct paths {
	char **list;
	uint32_t n;
};

static void add_path(struct paths *p, const char *path)
{
	for (uint32_t i = 0; i < p->n; i++)
		if (!strcmp(p->list[i], path))
			return;
	p->list = xrealloc(p->list, (p->n + 1) * sizeof(*p->list));
	p->list[p->n++] = xstrdup(path);
}

static void add_model(struct paths *p, const struct gpu *g)
{
	char model[NAME_MAX_ENCODED + 1], path[PATH_BYTES];

	if (name_encode_to(model, slice_str(g->ident->id->model)))
		return; /* none, or none that could be a name */
	snprintf(path, sizeof(path), FACET_MODEL "/%s", model);
	add_path(p, path);
}

static void add_pod(struct paths *p, const struct attribution *a)
{
	char namespace[NAME_MAX_ENCODED + 1], pod[NAME_MAX_ENCODED + 1], path[PATH_BYTES];

	if (name_encode_to(namespace, a->namespace) || name_encode_to(pod, a->pod))
		return;
	snprintf(path, sizeof(path), FACET_POD "/%s/%s", namespace, pod);
	add_path(p, path);
}

/* Of rows as new as the newest: several pods where they share the GPU. */
static void add_pods(struct paths *p, const struct gpu *g)
{
	const struct holder *last = NULL;

	for (uint32_t i = 0; i < g->n_series; i++) {
		const struct latest *l = gpu_latest(g, i);

		if (!l || l->time_ns != g->last_ns || l->holder == last)
			continue;
		last = l->holder;
		add_pod(p, &last->a);
	}
}

static bool same_paths(const struct paths *p, const struct gpu *g)
{
	if (p->n != g->n_filed)
		return false;
	for (uint32_t i = 0; i < p->n; i++)
		if (strcmp(p->list[i], g->filed[i]))
			return false;
	return true;
}

static void free_paths(char **list, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void gpu_release_filed(struct gpu *g)
{
	free_paths(g->filed, g->n_filed);
}

/* Takes p over. */
static void file_anew(struct model *m, struct gpu *g, struct paths *p)
{
	char *member = xasprintf("%s:%s", g->host->name, g->name);

	for (uint32_t i = 0; i < g->n_filed; i++)
		unfile(&m->facets, g->filed[i], member, g);
	gpu_release_filed(g);
	if (strlen(member) > NAME_MAX_ENCODED) {
		free_paths(p->list, p->n);
		*p = (struct paths){0};
	}
	g->filed = p->list;
	g->n_filed = p->n;
	for (uint32_t i = 0; i < g->n_filed; i++)
		file(&m->facets, g->filed[i], member, g);
	free(member);
}

void gpu_file(struct model *m, struct gpu *g)
{
	struct paths p = {0};

	if (g->listed) {
		add_model(&p, g);
		add_pods(&p, g);
	}
	if (same_paths(&p, g))
		free_paths(p.list, p.n);
	else
		file_anew(m, g, &p);
}
