/* Contents of the files over many GPUs and of .meta. */
#include "tree_files.h"

#include "conf.h"

#define STATUS_KEEP_MS 1000 /* how long a stat of .meta/status believes the last rendering */

static const char readme[] =
	"GPU telemetry of a cluster as files: read-only, kept up to date.\n"
	"\n"
	"<host>/<gpu>/            one folder per GPU; its mtime is its newest sample\n"
	"  metrics/<METRIC>       the latest value: one line\n"
	"  stat                   the latest of all metrics: METRIC value unit time\n"
	"  latest.csv .json .prom the same with labels\n"
	"  state                  live, stale or lost\n"
	"  uuid model device driver info.json\n"
	"  telemetry.csv          the newest log; history/ has all of them\n"
	"  stream                 rows from now on, as they come (not listed)\n"
	"<host>/latest.csv        the latest of all GPUs of a host\n"
	".by-uuid/<uuid>          where a GPU is now\n"
	".by-model/<model>/       links to the GPUs of a model\n"
	".by-pod/<ns>/<pod>/      links to the GPUs that a pod uses now\n"
	".at/<time>/<host>/<gpu>/ values as they were then: .at/2026-11-23T09:00:00Z/…\n"
	".meta/                   version, revision, status; gpus.json, latest.csv and\n"
	"                         latest.prom of the whole cluster\n"
	".meta/wait/<revision>    a read returns when that revision is shown here\n"
	"\n"
	"cat <host>/0/metrics/DCGM_FI_DEV_GPU_UTIL     one value\n"
	"head */*/metrics/DCGM_FI_DEV_GPU_TEMP         one metric everywhere\n"
	"grep -l lost */*/state                        GPUs that are gone\n"
	"find . -maxdepth 2 -mindepth 2 -mmin +1       GPUs without samples for a minute\n"
	"tail -F <host>/0/telemetry.csv                follow a GPU\n"
	"cat <host>/0/stream                           the same, at once, without the past\n"
	"inotifywait -m <host>/0/metrics               values that change\n"
	"jq -r '.data[].uuid' .meta/gpus.json          all GPUs\n";

/* ---- all GPUs -------------------------------------------------------------------------------- */

/* Digits count as the number that they are: 2 before 10. */
static int cmp_natural(const char *a, const char *b)
{
	while (*a && *b) {
		size_t na = strspn(a, "0123456789"), nb = strspn(b, "0123456789");
		int d;

		if (na && nb) {
			d = na != nb ? (na > nb) - (na < nb) : strncmp(a, b, na);
			a += na;
			b += nb;
		} else {
			d = (unsigned char)*a++ - (unsigned char)*b++;
		}
		if (d)
			return d;
	}
	return (unsigned char)*a - (unsigned char)*b;
}

static int by_place(const void *a, const void *b)
{
	const struct gpu *x = *(const struct gpu *const *)a, *y = *(const struct gpu *const *)b;
	int d = x->host == y->host ? 0 : strcmp(x->host->name, y->host->name);

	return d ? d : cmp_natural(x->name, y->name);
}

static size_t add_gpus(const struct gpu **to, const struct host *h)
{
	size_t n = 0;

	map_each (&h->gpus, i) {
		const struct gpu *g = h->gpus.entries[i].value;

		if (g->listed)
			to[n++] = g;
	}
	return n;
}

/* All listed GPUs, of one host or of all (h NULL), by host and number. To be freed. */
static const struct gpu **all_gpus(const struct place *p, const struct host *h, size_t *ret_n)
{
	const struct model *m = p->t->model;
	size_t n = 0, cap = (h ? h->listed : m->n_gpus) + 1;
	const struct gpu **list = xcalloc(cap, sizeof(*list));

	if (h)
		n = add_gpus(list, h);
	map_each (&m->hosts, i)
		if (!h)
			n += add_gpus(list + n, m->hosts.entries[i].value);
	qsort(list, n, sizeof(*list), by_place);
	*ret_n = n;
	return list;
}

static void add_wide_rows(struct strbuf *out, const struct gpu *g)
{
	struct cursor c = {.g = g};

	while (next_latest(&c)) {
		render_csv_field(out, slice_str(g->ident->id->host));
		strbuf_addc(out, ',');
		render_csv_field(out, slice_str(g->ident->id->gpu));
		strbuf_addc(out, ',');
		render_row(out, latest_time(c.l), latest_value(c.l), c.s, &c.l->holder->a);
	}
}

static void add_latest_wide(struct strbuf *out, struct place *p, const struct host *h)
{
	size_t n;
	const struct gpu **gpus = all_gpus(p, h, &n);

	strbuf_adds(out, LATEST_HEADER_WIDE);
	for (size_t i = 0; i < n; i++)
		add_wide_rows(out, gpus[i]);
	free(gpus);
}

void file_fleet_latest(struct strbuf *out, struct place *p)
{
	add_latest_wide(out, p, NULL);
}

void file_host_latest(struct strbuf *out, struct place *p)
{
	add_latest_wide(out, p, p->host);
}

/* ---- Prometheus: samples of one metric stand together ------------------------------------------
 */

struct families {
	struct map by_metric; /* → strbuf of its samples */
};

static struct strbuf *family(struct families *f, const char *metric)
{
	struct strbuf *b = map_get_str(&f->by_metric, metric);

	if (!b) {
		b = xcalloc(1, sizeof(*b));
		strbuf_init(b, FILE_MAX);
		map_put(&f->by_metric, metric, strlen(metric), b);
	}
	return b;
}

static void add_samples(struct families *f, struct place *p, const struct gpu *g)
{
	struct cursor c = {.g = g};

	while (next_latest(&c))
		if (place_is_within(p, c.l->time_ns, p->t->conf.stale_after_ms))
			render_prom(family(f, c.s->metric), g->ident->id, latest_time(c.l),
				    latest_value(c.l), c.s, &c.l->holder->a);
}

static int by_key(const void *a, const void *b)
{
	const struct map_entry *x = *(const struct map_entry *const *)a;
	const struct map_entry *y = *(const struct map_entry *const *)b;

	return strcmp(x->key, y->key);
}

static void add_families(struct strbuf *out, struct families *f)
{
	uint32_t n = map_count(&f->by_metric);
	const struct map_entry **order = xcalloc(n + 1, sizeof(*order));

	for (uint32_t i = 0; i < n; i++)
		order[i] = &f->by_metric.entries[i];
	qsort(order, n, sizeof(*order), by_key);
	for (uint32_t i = 0; i < n; i++) {
		struct strbuf *samples = order[i]->value;

		render_prom_type(out, order[i]->key);
		strbuf_add(out, samples->s, samples->len);
		strbuf_release(samples);
		free(samples);
	}
	free(order);
	map_release(&f->by_metric);
}

void file_fleet_prom(struct strbuf *out, struct place *p)
{
	struct families f = {0};
	size_t n;
	const struct gpu **gpus = all_gpus(p, NULL, &n);

	for (size_t i = 0; i < n; i++)
		add_samples(&f, p, gpus[i]);
	add_families(out, &f);
	free(gpus);
}

void file_gpu_prom(struct strbuf *out, struct place *p)
{
	struct families f = {0};

	add_samples(&f, p, p->gpu);
	add_families(out, &f);
}

/* ---- .meta ----------------------------------------------------------------------------------- */

void file_readme(struct strbuf *out, struct place *p)
{
	strbuf_adds(out, readme);
}

void file_version(struct strbuf *out, struct place *p)
{
	file_add_line(out, gputel_version);
}

void file_revision(struct strbuf *out, struct place *p)
{
	strbuf_addf(out, "%lld\n", (long long)p->t->model->newest_rev);
}

void file_wait(struct strbuf *out, struct place *p)
{
	strbuf_addf(out, "%lld\n", (long long)p->revision);
}

/* The time of the newest row, as it came. */
static bool last_seen(const struct gpu *g, struct stamp *ret)
{
	struct cursor c = {.g = g};
	bool seen = false;

	while (next_latest(&c))
		if (c.l->time_ns == g->last_ns) {
			*ret = latest_time(c.l);
			seen = true;
		}
	return seen;
}

static void add_gpu_json(struct strbuf *out, struct place *p, const struct gpu *g)
{
	struct stamp seen;

	strbuf_addc(out, '{');
	file_add_names(out, g->ident->id, "");
	file_add_field(out, ",", "state", gpu_state_name(gpu_state(p, g)));
	strbuf_adds(out, ",\"metrics\":[");
	file_add_metrics(out, g, true, "");
	strbuf_adds(out, "],\"last_seen\":");
	if (last_seen(g, &seen)) {
		strbuf_addc(out, '"');
		file_add_stamp(out, seen);
		strbuf_adds(out, "\"}");
	} else {
		strbuf_adds(out, "null}");
	}
}

void file_fleet_gpus(struct strbuf *out, struct place *p)
{
	size_t n;
	const struct gpu **gpus = all_gpus(p, NULL, &n);

	strbuf_adds(out, "{\"data\":[");
	for (size_t i = 0; i < n; i++) {
		if (i)
			strbuf_addc(out, ',');
		add_gpu_json(out, p, gpus[i]);
	}
	strbuf_addf(out, "],\"count\":%zu,\"has_more\":false}\n", n);
	free(gpus);
}

/* ---- .meta/status: rendered without the tree's lock, shown from there -------------------------
 */

static void add_figures(struct strbuf *out, struct tree *t)
{
	struct tree_stats s;

	tree_stats(t, &s);
	strbuf_addf(out, "version=%s\nrevision=%lld\n", gputel_version,
		    (long long)tree_revision(t));
	const struct {
		const char *name;
		uint64_t value;
	} figures[] = {
		{"hosts", s.hosts},           {"gpus", s.gpus},
		{"series", s.series},         {"segments", s.segments},
		{"chunks", s.chunks},         {"rows", s.rows},
		{"nodes", s.nodes},           {"cache_bytes", s.cache_bytes},
		{"cache_hits", s.cache_hits}, {"cache_misses", s.cache_misses},
	};
	for (size_t i = 0; i < ARRAY_SIZE(figures); i++)
		strbuf_addf(out, "%s=%llu\n", figures[i].name,
			    (unsigned long long)figures[i].value);
}

static bool status_is_recent(struct tree *t)
{
	bool recent;

	pthread_mutex_lock(&t->status_lock);
	recent = t->status.len && mono_ms_since(t->status_at) < STATUS_KEEP_MS;
	pthread_mutex_unlock(&t->status_lock);
	return recent;
}

void status_refresh(struct tree *t, bool fresh)
{
	struct strbuf out, old;

	if (!fresh && status_is_recent(t))
		return;
	strbuf_init(&out, FILE_MAX);
	add_figures(&out, t);
	if (t->conf.status)
		t->conf.status(&out, fresh, t->conf.status_arg);
	pthread_mutex_lock(&t->status_lock);
	old = t->status;
	t->status = out;
	t->status_at = mono_now();
	pthread_mutex_unlock(&t->status_lock);
	strbuf_release(&old);
}

void file_status(struct strbuf *out, struct place *p)
{
	struct tree *t = p->t;

	pthread_mutex_lock(&t->status_lock);
	strbuf_add(out, t->status.s, t->status.len);
	pthread_mutex_unlock(&t->status_lock);
}
