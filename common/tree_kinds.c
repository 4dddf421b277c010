/* The table of kinds of nodes, and what of them the data names. */
#include "tree_past.h"

static bool has_newest(const struct place *p);
static bool find_revision(struct place *p, const char *name);
static bool find_host(struct place *p, const char *name);
static bool find_gpu(struct place *p, const char *name);
static bool find_uuid(struct place *p, const char *name);
static bool find_model(struct place *p, const char *name);
static bool find_namespace(struct place *p, const char *name);
static bool find_pod(struct place *p, const char *name);
static bool find_member(struct place *p, const char *name);
static bool find_metric(struct place *p, const char *name);
static bool find_segment(struct place *p, const char *name);
static bool find_instant(struct place *p, const char *name);
static bool find_past_host(struct place *p, const char *name);
static bool find_past_gpu(struct place *p, const char *name);
static void each_host(const struct place *dir, struct listing *l);
static void each_gpu(const struct place *dir, struct listing *l);
static void each_uuid(const struct place *dir, struct listing *l);
static void each_model(const struct place *dir, struct listing *l);
static void each_namespace(const struct place *dir, struct listing *l);
static void each_pod(const struct place *dir, struct listing *l);
static void each_member(const struct place *dir, struct listing *l);
static void each_metric(const struct place *dir, struct listing *l);
static void each_segment(const struct place *dir, struct listing *l);
static void each_past_host(const struct place *dir, struct listing *l);
static void each_past_gpu(const struct place *dir, struct listing *l);

#define DIR_(parent_, scope_, name_)                                                               \
	{                                                                                          \
		.parent = parent_, .scope = scope_, .type = NODE_DIR, .name = name_                \
	}
#define FILE_(parent_, scope_, name_, render_, ...)                                                \
	{                                                                                          \
		.parent = parent_, .scope = scope_, .type = NODE_FILE,                             \
		.content = CONTENT_SNAPSHOT, .name = name_, .render = render_, ##__VA_ARGS__       \
	}
#define FACET_(parent_, find_, each_)                                                              \
	{                                                                                          \
		.parent = parent_, .scope = OF_FACET, .type = NODE_DIR, .find = find_,             \
		.each = each_                                                                      \
	}
#define MEMBER_(parent_, render_)                                                                  \
	{                                                                                          \
		.parent = parent_, .scope = OF_GPU, .type = NODE_LINK, .render = render_,          \
		.find = find_member, .each = each_member                                           \
	}

const struct kind kinds[N_KINDS] = {
	[K_ROOT] = DIR_(N_KINDS, OF_TREE, ""),
	[K_README] = FILE_(K_ROOT, OF_PROGRAM, "README", file_readme),
	[K_META] = DIR_(K_ROOT, OF_TREE, ".meta"),
	[K_META_VERSION] = FILE_(K_META, OF_PROGRAM, "version", file_version),
	[K_META_REVISION] = FILE_(K_META, OF_TREE, "revision", file_revision),
	[K_META_STATUS] = FILE_(K_META, OF_TREE, "status", file_status),
	[K_META_GPUS] =
		FILE_(K_META, OF_TREE, "gpus.json", file_fleet_gpus, .cached = CACHED_GPUS + 1),
	[K_META_LATEST] = FILE_(K_META, OF_TREE, "latest.csv", file_fleet_latest,
				.cached = CACHED_LATEST + 1),
	[K_META_PROM] =
		FILE_(K_META, OF_TREE, "latest.prom", file_fleet_prom, .cached = CACHED_PROM + 1),
	[K_META_WAIT] = DIR_(K_META, OF_PROGRAM, "wait"),
	[K_WAIT] = {.parent = K_META_WAIT,
		    .scope = OF_TREE,
		    .type = NODE_FILE,
		    .content = CONTENT_WAIT,
		    .render = file_wait,
		    .unlisted = true,
		    .find = find_revision},
	[K_BY_UUID] = DIR_(K_ROOT, OF_TREE, ".by-uuid"),
	[K_UUID_LINK] = {.parent = K_BY_UUID,
			 .scope = OF_GPU,
			 .type = NODE_LINK,
			 .render = link_gpu,
			 .find = find_uuid,
			 .each = each_uuid},
	[K_BY_MODEL] = DIR_(K_ROOT, OF_TREE, ".by-model"),
	[K_MODEL] = FACET_(K_BY_MODEL, find_model, each_model),
	[K_MODEL_LINK] = MEMBER_(K_MODEL, link_gpu_of_model),
	[K_BY_POD] = DIR_(K_ROOT, OF_TREE, ".by-pod"),
	[K_NAMESPACE] = FACET_(K_BY_POD, find_namespace, each_namespace),
	[K_POD] = FACET_(K_NAMESPACE, find_pod, each_pod),
	[K_POD_LINK] = MEMBER_(K_POD, link_gpu_of_pod),
	[K_HOST] = {.parent = K_ROOT,
		    .scope = OF_HOST,
		    .type = NODE_DIR,
		    .find = find_host,
		    .each = each_host},
	[K_HOST_LATEST] = FILE_(K_HOST, OF_HOST, "latest.csv", file_host_latest),
	[K_GPU] = {.parent = K_HOST,
		   .scope = OF_GPU,
		   .type = NODE_DIR,
		   .find = find_gpu,
		   .each = each_gpu},
	[K_GPU_UUID] = FILE_(K_GPU, OF_IDENTITY, "uuid", file_uuid),
	[K_GPU_MODEL] = FILE_(K_GPU, OF_IDENTITY, "model", file_model),
	[K_GPU_DEVICE] = FILE_(K_GPU, OF_IDENTITY, "device", file_device),
	[K_GPU_DRIVER] = FILE_(K_GPU, OF_IDENTITY, "driver", file_driver),
	[K_GPU_STATE] = FILE_(K_GPU, OF_GPU, "state", file_state),
	[K_GPU_INFO] = FILE_(K_GPU, OF_IDENTITY, "info.json", file_info),
	[K_METRICS] = DIR_(K_GPU, OF_GPU, "metrics"),
	[K_METRIC] = {.parent = K_METRICS,
		      .scope = OF_SERIES,
		      .type = NODE_FILE,
		      .content = CONTENT_SNAPSHOT,
		      .render = file_metric,
		      .find = find_metric,
		      .each = each_metric},
	[K_GPU_LATEST_CSV] = FILE_(K_GPU, OF_GPU, "latest.csv", file_gpu_latest_csv),
	[K_GPU_LATEST_JSON] = FILE_(K_GPU, OF_GPU, "latest.json", file_gpu_latest_json),
	[K_GPU_PROM] = FILE_(K_GPU, OF_GPU, "latest.prom", file_gpu_prom),
	[K_GPU_STAT] = FILE_(K_GPU, OF_GPU, "stat", file_stat),
	[K_GPU_STREAM] = {.parent = K_GPU,
			  .scope = OF_GPU,
			  .type = NODE_FILE,
			  .content = CONTENT_STREAM,
			  .name = "stream",
			  .unlisted = true},
	[K_TELEMETRY] = {.parent = K_GPU,
			 .scope = OF_GPU,
			 .type = NODE_LINK,
			 .name = "telemetry.csv",
			 .render = link_newest,
			 .shown = has_newest},
	[K_HISTORY] = DIR_(K_GPU, OF_GPU, "history"),
	[K_SEGMENT] = {.parent = K_HISTORY,
		       .scope = OF_SEGMENT,
		       .type = NODE_FILE,
		       .content = CONTENT_ROWS,
		       .find = find_segment,
		       .each = each_segment},
	[K_AT] = {.parent = K_ROOT,
		  .scope = OF_TREE,
		  .type = NODE_DIR,
		  .name = ".at",
		  .unlisted = true},
	[K_AT_TIME] = {.parent = K_AT, .scope = OF_INSTANT, .type = NODE_DIR, .find = find_instant},
	[K_AT_HOST] = {.parent = K_AT_TIME,
		       .scope = OF_INSTANT,
		       .type = NODE_DIR,
		       .find = find_past_host,
		       .each = each_past_host},
	[K_AT_GPU] = {.parent = K_AT_HOST,
		      .scope = OF_INSTANT,
		      .type = NODE_DIR,
		      .find = find_past_gpu,
		      .each = each_past_gpu},
	[K_AT_INFO] = FILE_(K_AT_GPU, OF_IDENTITY, "info.json", file_info),
	[K_AT_METRICS] = DIR_(K_AT_GPU, OF_GPU, "metrics"),
	[K_AT_METRIC] = {.parent = K_AT_METRICS,
			 .scope = OF_SERIES,
			 .type = NODE_FILE,
			 .content = CONTENT_SNAPSHOT,
			 .render = file_metric,
			 .find = find_metric,
			 .each = each_metric},
	[K_AT_LATEST_CSV] = FILE_(K_AT_GPU, OF_GPU, "latest.csv", file_gpu_latest_csv),
	[K_AT_LATEST_JSON] = FILE_(K_AT_GPU, OF_GPU, "latest.json", file_gpu_latest_json),
	[K_AT_PROM] = FILE_(K_AT_GPU, OF_GPU, "latest.prom", file_gpu_prom),
	[K_AT_STAT] = FILE_(K_AT_GPU, OF_GPU, "stat", file_stat),
};

/* ---- what the data names --------------------------------------------------------------------- */

static bool has_newest(const struct place *p)
{
	return gpu_newest_segment(p->gpu) != NULL;
}

static bool find_revision(struct place *p, const char *name)
{
	p->revision = 0;
	for (const char *c = name; *c; c++) {
		int d = *c - '0';

		if (d < 0 || d > 9 || p->revision > (INT64_MAX - d) / 10)
			return false;
		p->revision = p->revision * 10 + d;
	}
	return *name != '\0';
}

static bool find_host(struct place *p, const char *name)
{
	p->host = map_get_str(&p->t->model->hosts, name);
	return p->host && p->host->listed;
}

static bool find_gpu(struct place *p, const char *name)
{
	p->gpu = map_get_str(&p->host->gpus, name);
	return p->gpu && p->gpu->listed;
}

static bool find_uuid(struct place *p, const char *name)
{
	p->gpu = model_uuid(p->t->model, name);
	p->host = p->gpu ? p->gpu->host : NULL;
	return p->gpu;
}

static const struct facet *all_of(const struct place *p, const char *facet)
{
	return facet_below(&p->t->model->facets, facet);
}

static bool find_model(struct place *p, const char *name)
{
	p->facet = facet_below(all_of(p, FACET_MODEL), name);
	return p->facet;
}

static bool find_namespace(struct place *p, const char *name)
{
	p->facet = facet_below(all_of(p, FACET_POD), name);
	return p->facet;
}

static bool find_pod(struct place *p, const char *name)
{
	p->facet = facet_below(p->facet, name);
	return p->facet;
}

static bool find_member(struct place *p, const char *name)
{
	p->gpu = map_get_str(&p->facet->members, name);
	return p->gpu;
}

static bool find_metric(struct place *p, const char *name)
{
	const struct gpu *g = p->gpu;
	uint32_t lo = 0, hi = g->ident->id->n_series;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		int d = strcmp(name, gpu_series_file(g, g->order[mid]));

		p->series = g->order[mid];
		if (d == 0)
			return gpu_latest(g, p->series);
		if (d < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

static bool find_segment(struct place *p, const char *name)
{
	size_t len = strlen(name);
	int64_t start;

	if (len <= 4 || strcmp(name + len - 4, ".csv") ||
	    segment_name_parse((struct slice){name, len - 4}, &start))
		return false;
	p->segment = gpu_segment(p->gpu, start);
	return p->segment;
}

static bool host_has_past(const struct host *h, int64_t at_ns)
{
	map_each (&h->gpus, i) {
		const struct gpu *g = h->gpus.entries[i].value;

		if (g->listed && gpu_has_past(g, at_ns))
			return true;
	}
	return false;
}

/* Neither the future nor what nothing is stored of any more. */
static bool find_instant(struct place *p, const char *name)
{
	const struct map *hosts = &p->t->model->hosts;

	if (!past_parse(name, &p->at_ns) || p->at_ns > p->now_ns)
		return false;
	p->now_ns = p->at_ns;
	p->keep_ms = PAST_KEEP_MS;
	map_each (hosts, i)
		if (host_has_past(hosts->entries[i].value, p->at_ns))
			return true;
	return false;
}

static bool find_past_host(struct place *p, const char *name)
{
	return find_host(p, name) && host_has_past(p->host, p->at_ns);
}

static bool find_past_gpu(struct place *p, const char *name)
{
	p->gpu = past_gpu(p->t, p->at_ns, p->host->name, name, &p->keep_ms);
	return p->gpu;
}

/* A name of the table that the data must not take. */
static bool is_fixed(enum kind_id parent, const char *name)
{
	for (enum kind_id k = 1; k < N_KINDS; k++)
		if (kinds[k].parent == parent && kinds[k].name && !strcmp(kinds[k].name, name))
			return true;
	return false;
}

static struct item *add_item(struct listing *l, const struct place *p, const char *name)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 32;
		l->items = xrealloc(l->items, l->cap * sizeof(*l->items));
	}
	l->items[l->n] = (struct item){.kind = l->kind, .place = *p, .name = name};
	return &l->items[l->n++];
}

static void each_host(const struct place *dir, struct listing *l)
{
	struct place p = *dir;

	map_each (&dir->t->model->hosts, i) {
		p.host = dir->t->model->hosts.entries[i].value;
		if (p.host->listed && !is_fixed(K_ROOT, p.host->name))
			add_item(l, &p, p.host->name);
	}
}

static void each_gpu(const struct place *dir, struct listing *l)
{
	struct place p = *dir;

	map_each (&dir->host->gpus, i) {
		p.gpu = dir->host->gpus.entries[i].value;
		if (p.gpu->listed && !is_fixed(K_HOST, p.gpu->name))
			add_item(l, &p, p.gpu->name);
	}
}

static void each_uuid(const struct place *dir, struct listing *l)
{
	const struct map *uuids = &dir->t->model->uuids;
	struct place p = *dir;

	map_each (uuids, i)
		if (find_uuid(&p, uuids->entries[i].key))
			add_item(l, &p, uuids->entries[i].key);
}

static void each_below(const struct place *dir, const struct facet *f, struct listing *l)
{
	struct place p = *dir;

	for (uint32_t i = 0; f && i < map_count(&f->below); i++) {
		p.facet = f->below.entries[i].value;
		add_item(l, &p, f->below.entries[i].key);
	}
}

static void each_model(const struct place *dir, struct listing *l)
{
	each_below(dir, all_of(dir, FACET_MODEL), l);
}

static void each_namespace(const struct place *dir, struct listing *l)
{
	each_below(dir, all_of(dir, FACET_POD), l);
}

static void each_pod(const struct place *dir, struct listing *l)
{
	each_below(dir, dir->facet, l);
}

static void each_member(const struct place *dir, struct listing *l)
{
	struct place p = *dir;

	map_each (&dir->facet->members, i) {
		p.gpu = dir->facet->members.entries[i].value;
		add_item(l, &p, dir->facet->members.entries[i].key);
	}
}

static void each_metric(const struct place *dir, struct listing *l)
{
	struct place p = *dir;

	for (p.series = 0; p.series < p.gpu->ident->id->n_series; p.series++)
		if (gpu_latest(p.gpu, p.series))
			add_item(l, &p, gpu_series_file(p.gpu, p.series));
}

static void each_segment(const struct place *dir, struct listing *l)
{
	struct place p = *dir;

	for (uint32_t i = 0; i < p.gpu->n_segments; i++) {
		struct item *item;

		p.segment = p.gpu->segments[i];
		if (!p.segment->listed)
			continue;
		item = add_item(l, &p, NULL);
		segment_name(p.segment->start_ns, item->text);
		strcat(item->text, ".csv");
	}
}

static void each_past_host(const struct place *dir, struct listing *l)
{
	struct place p = *dir;

	map_each (&dir->t->model->hosts, i) {
		p.host = dir->t->model->hosts.entries[i].value;
		if (host_has_past(p.host, dir->at_ns))
			add_item(l, &p, p.host->name);
	}
}

/* Some of them may turn out to have no sample in time when they are looked up. */
static void each_past_gpu(const struct place *dir, struct listing *l)
{
	struct place p = *dir;

	map_each (&dir->host->gpus, i) {
		p.gpu = dir->host->gpus.entries[i].value;
		if (p.gpu->listed && gpu_has_past(p.gpu, dir->at_ns))
			add_item(l, &p, p.gpu->name);
	}
}

/* ---- children -------------------------------------------------------------------------------- */

bool kind_is_meta(enum kind_id k)
{
	return k == K_META || kinds[k].parent == K_META || kinds[k].parent == K_META_WAIT;
}

uint64_t kind_incarnation(enum kind_id k, const struct place *p)
{
	if (kinds[k].scope < OF_IDENTITY)
		return 0;
	return kinds[k].scope == OF_SEGMENT ? p->segment->incarnation : p->gpu->listed_as;
}

enum kind_id kind_child(enum kind_id dir, struct place *p, const char *name)
{
	for (enum kind_id k = 1; k < N_KINDS; k++)
		if (kinds[k].parent == dir && kinds[k].name && !strcmp(kinds[k].name, name))
			return kind_is_shown(k, p) ? k : N_KINDS;
	for (enum kind_id k = 1; k < N_KINDS; k++) {
		struct place at = *p;

		if (kinds[k].parent != dir || kinds[k].name || !kinds[k].find(&at, name))
			continue;
		*p = at;
		return k;
	}
	return N_KINDS;
}

void kind_children(enum kind_id dir, const struct place *p, struct listing *l)
{
	for (enum kind_id k = 1; k < N_KINDS; k++) {
		if (kinds[k].parent != dir)
			continue;
		l->kind = k;
		if (kinds[k].unlisted)
			continue;
		if (!kinds[k].name && kinds[k].each)
			kinds[k].each(p, l);
		else if (kinds[k].name && kind_is_shown(k, p))
			add_item(l, p, kinds[k].name);
	}
}
