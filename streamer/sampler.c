#include "sampler.h"

#include "daemon.h"
#include "gpu_fields.h"
#include "log.h"
#include "rhythm.h"
#include "stats.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define INSTANCES_MAX 9  /* the GPU, and the most GPU instances that it can be cut into, and one */
#define XIDS_MAX      64 /* taken in one round */
#define ROWS_MAX      (INSTANCES_MAX * GPU_VALUES_MAX + XIDS_MAX)
#define CLOSE_WAIT_S  2 /* for a thread that is in the driver */

/* A GPU, or a MIG instance of it. */
struct instance {
	nvml_device device;
	char uuid[NVML_TEXT_MAX], model[NVML_TEXT_MAX];
	char labels[2 * NVML_TEXT_MAX + 80]; /* canonical enough for series.h */
	uint32_t without, failing;           /* groups that it does not have, that fail now */
};

struct gpu {
	struct sampler *sampler;
	unsigned index;
	pthread_t thread;
	bool started;
	char number[12], device_name[24], what[NVML_TEXT_MAX + 24];
	struct instance instances[INSTANCES_MAX];
	size_t n;
	bool lost;
	struct mono rescan_at;
	struct stat_cell *up, *rounds, *skipped, *missed;
	nvml_event_set events;

	struct live_row rows[ROWS_MAX];
	const struct instance *row_of[ROWS_MAX];
	const char *metrics[ROWS_MAX];
	char texts[ROWS_MAX][24];
	size_t n_rows;
	struct slice fields[FIELD_COUNT];
};

struct sampler {
	struct sampler_conf conf;
	struct nvml nvml;
	char host[256], driver[NVML_TEXT_MAX];
	struct gpu *gpus;
	unsigned n;
	pthread_mutex_t lock; /* open */
	bool open;
};

/* ---- what there is --------------------------------------------------------------------------- */

/* Its profile is what its name ends in: "NVIDIA A100-SXM4-40GB MIG 1g.5gb". */
static void label_instance(const struct sampler *s, struct instance *x, const unsigned *gi)
{
	const char *profile = strstr(x->model, " MIG ");
	size_t n = (size_t)snprintf(x->labels, sizeof(x->labels), "DCGM_FI_DRIVER_VERSION=\"%s\"",
				    s->driver);

	if (gi)
		n += (size_t)snprintf(x->labels + n, sizeof(x->labels) - n, ",GPU_I_ID=\"%u\"",
				      *gi);
	if (gi && profile)
		snprintf(x->labels + n, sizeof(x->labels) - n, ",GPU_I_PROFILE=\"%s\"",
			 profile + strlen(" MIG "));
}

static int describe(const struct sampler *s, nvml_device d, struct instance *x)
{
	int r;

	*x = (struct instance){.device = d};
	r = s->nvml.DeviceGetUUID(d, x->uuid, sizeof(x->uuid));
	if (!r)
		r = s->nvml.DeviceGetName(d, x->model, sizeof(x->model));
	if (strpbrk(x->uuid, "\"\\\n") || strpbrk(x->model, "\"\\\n"))
		return NVML_INVALID_ARGUMENT;
	return r;
}

/* Those of the same GPU instance share its memory and its place: the first stands for all. */
static void add_mig(struct gpu *g, struct instance *list, size_t *n, uint64_t *seen, unsigned i)
{
	const struct nvml *v = &g->sampler->nvml;
	nvml_device d;
	unsigned gi;

	if (*n == INSTANCES_MAX || v->DeviceGetMigDeviceHandleByIndex(list[0].device, i, &d) ||
	    v->DeviceGetGpuInstanceId(d, &gi) || gi >= 64 || (*seen >> gi & 1) ||
	    describe(g->sampler, d, &list[*n]))
		return;
	*seen |= 1ull << gi;
	label_instance(g->sampler, &list[*n], &gi);
	(*n)++;
}

static void find_mig(struct gpu *g, struct instance *list, size_t *n)
{
	const struct nvml *v = &g->sampler->nvml;
	unsigned on = 0, pending, max = 0;
	uint64_t seen = 0;

	if (!v->DeviceGetMigMode || !v->DeviceGetMaxMigDeviceCount ||
	    !v->DeviceGetMigDeviceHandleByIndex || !v->DeviceGetGpuInstanceId)
		return;
	if (v->DeviceGetMigMode(list[0].device, &on, &pending) || !on ||
	    v->DeviceGetMaxMigDeviceCount(list[0].device, &max))
		return;
	for (unsigned i = 0; i < MIN(max, 64u); i++)
		add_mig(g, list, n, &seen, i);
}

/* What was learnt of an instance that is still there stays known. */
static void keep_masks(const struct gpu *g, struct instance *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < g->n; k++) {
			if (strcmp(list[i].uuid, g->instances[k].uuid))
				continue;
			list[i].without = g->instances[k].without;
			list[i].failing = g->instances[k].failing;
		}
	}
}

/* Looks for the GPU and its instances anew. An NVML result. */
static int rescan(struct gpu *g)
{
	const struct nvml *v = &g->sampler->nvml;
	struct instance list[INSTANCES_MAX];
	nvml_device d;
	unsigned minor = g->index;
	size_t n = 1;
	int r = v->DeviceGetHandleByIndex_v2(g->index, &d);

	g->rescan_at = mono_in_ms(SAMPLER_RESCAN_MS);
	if (!r)
		r = describe(g->sampler, d, &list[0]);
	if (r)
		return r;
	if (v->DeviceGetMinorNumber)
		(void)v->DeviceGetMinorNumber(d, &minor);
	snprintf(g->device_name, sizeof(g->device_name), "nvidia%u", minor);
	label_instance(g->sampler, &list[0], NULL);
	find_mig(g, list, &n);
	keep_masks(g, list, n);
	memcpy(g->instances, list, n * sizeof(*list));
	g->n = n;
	snprintf(g->what, sizeof(g->what), "GPU %u (%s)", g->index, list[0].uuid);
	return 0;
}

/* Its events need a registration each time that it is found. */
static void register_events(struct gpu *g)
{
	const struct nvml *v = &g->sampler->nvml;

	if (!v->EventSetCreate || !v->DeviceRegisterEvents || !v->EventSetWait_v2 ||
	    !v->EventSetFree)
		return;
	if (g->events)
		v->EventSetFree(g->events);
	g->events = NULL;
	if (v->EventSetCreate(&g->events))
		g->events = NULL;
	else if (v->DeviceRegisterEvents(g->instances[0].device, NVML_EVENT_XID, g->events))
		log_each(LOG_LEVEL_INFO, "%s: XIDs are not to be had", g->what);
}

static void lose(struct gpu *g, int result)
{
	if (!g->lost)
		log_each(LOG_LEVEL_WARN, "%s is lost: %s; the others go on", g->what,
			 nvml_error(&g->sampler->nvml, result));
	g->lost = true;
	stat_cell_set(g->up, 0);
	g->rescan_at =
		mono_in_ms(MIN(10 * g->sampler->conf.interval_ms, (int64_t)SAMPLER_RESCAN_MS));
}

/* False: there is no GPU to ask. */
static bool is_there(struct gpu *g)
{
	int r;

	if (mono_ms_until(g->rescan_at))
		return !g->lost;
	r = rescan(g);
	if (r) {
		lose(g, r);
		return false;
	}
	if (g->lost) {
		log_each(LOG_LEVEL_INFO, "%s is back", g->what);
		register_events(g);
	}
	g->lost = false;
	stat_cell_set(g->up, 1);
	return true;
}

/* ---- one round ------------------------------------------------------------------------------- */

static void add_row(struct gpu *g, const struct instance *x, const char *metric, const char *text,
		    struct stamp time)
{
	size_t i = g->n_rows;

	if (i == ROWS_MAX)
		return;
	g->row_of[i] = x;
	g->metrics[i] = metric;
	snprintf(g->texts[i], sizeof(g->texts[i]), "%s", text);
	g->rows[i] = (struct live_row){
		.key = {{slice_str(x->uuid), slice_str(metric), slice_str(x->labels)}},
		.value = slice_str(g->texts[i]),
		.time = time,
	};
	g->n_rows++;
}

static bool is_lost(int result)
{
	return result == NVML_GPU_IS_LOST || result == NVML_RESET_REQUIRED ||
	       result == NVML_UNINITIALIZED || result == NVML_DRIVER_NOT_LOADED;
}

static bool is_unsupported(int result)
{
	return result == NVML_NOT_SUPPORTED || result == NVML_FUNCTION_NOT_FOUND ||
	       result == NVML_NO_PERMISSION || result == NVML_INVALID_ARGUMENT;
}

static void note_result(struct gpu *g, struct instance *x, size_t group, int result)
{
	uint32_t bit = 1u << group;
	const char *name = gpu_field_groups[group].name;
	const char *why = nvml_error(&g->sampler->nvml, result);

	if (is_unsupported(result)) {
		x->without |= bit;
		log_each(LOG_LEVEL_INFO, "%s: %s: no %s: %s", g->what, x->uuid, name, why);
	} else if (result) {
		stat_cell_add(stats_cell(STAT_NVML_ERRORS, g->number, name), 1);
		if (!(x->failing & bit))
			log_each(LOG_LEVEL_WARN, "%s: %s: %s cannot be read: %s", g->what, x->uuid,
				 name, why);
	}
	x->failing = result ? x->failing | bit : x->failing & ~bit;
}

/* An NVML result: of what means that the GPU is lost, else 0. */
static int read_instance(struct gpu *g, struct instance *x, struct stamp time)
{
	for (size_t i = 0; i < gpu_field_groups_count; i++) {
		struct gpu_values v = {0};
		int r;

		if (x->without >> i & 1)
			continue;
		r = gpu_field_groups[i].read(&g->sampler->nvml, x->device, &v);
		if (is_lost(r))
			return r;
		note_result(g, x, i, r);
		for (size_t k = 0; k < v.n; k++)
			add_row(g, x, v.list[k].metric, v.list[k].text, time);
	}
	return 0;
}

static void read_xids(struct gpu *g, struct stamp time)
{
	struct nvml_event event;
	char text[24];

	for (int i = 0; g->events && i < XIDS_MAX; i++) {
		if (g->sampler->nvml.EventSetWait_v2(g->events, &event, 0))
			return;
		snprintf(text, sizeof(text), "%llu", event.data);
		log_warn("%s: XID %s", g->what, text);
		add_row(g, &g->instances[0], "DCGM_FI_DEV_XID_ERRORS", text, time);
	}
}

static int fields_of(size_t i, const struct slice **ret, void *arg, struct err *e)
{
	struct gpu *g = arg;
	const struct instance *x = g->row_of[i];

	for (int k = 0; k < FIELD_COUNT; k++)
		g->fields[k] = SLICE_LIT("");
	g->fields[FIELD_HOST] = slice_str(g->sampler->host);
	g->fields[FIELD_GPU] = slice_str(g->number);
	g->fields[FIELD_METRIC] = slice_str(g->metrics[i]);
	g->fields[FIELD_DEVICE] = slice_str(g->device_name);
	g->fields[FIELD_UUID] = slice_str(x->uuid);
	g->fields[FIELD_MODEL] = slice_str(x->model);
	g->fields[FIELD_LABELS] = slice_str(x->labels);
	*ret = g->fields;
	return 0;
}

static void put_rows(struct gpu *g, bool *refused)
{
	struct sampler *s = g->sampler;
	struct live_scrape scrape = {
		.rows = g->rows, .n = g->n_rows, .fields = fields_of, .arg = g};
	struct live_verdict v;
	struct err e = {0};
	int r;

	pthread_mutex_lock(&s->lock);
	r = s->open ? live_put(s->conf.live, &scrape, &v, &e) : -ECANCELED;
	pthread_mutex_unlock(&s->lock);
	if (r == -ENOBUFS && !*refused)
		log_warn("%s: its rows are skipped: %s", g->what, e.text);
	else if (!r && *refused)
		log_info("%s: its rows are taken again", g->what);
	*refused = r == -ENOBUFS;
	stat_cell_add(g->skipped, *refused);
}

static void sample(struct gpu *g, bool *refused)
{
	struct stamp now = {wall_now_ns() / NS_PER_MS * NS_PER_MS, 3};
	int r = 0;

	g->n_rows = 0;
	read_xids(g, now);
	for (size_t i = 0; i < g->n && !r; i++)
		r = read_instance(g, &g->instances[i], now);
	if (r)
		lose(g, r);
	else
		stat_cell_add(g->rounds, 1);
	if (g->n_rows)
		put_rows(g, refused);
}

static void *run_gpu(void *arg)
{
	struct gpu *g = arg;
	struct rhythm rhythm;
	int64_t missed;
	bool refused = false;

	rhythm_init(&rhythm, g->sampler->conf.interval_ms, 0, mono_now());
	while (!rhythm_wait(&rhythm, &missed)) {
		stat_cell_add(g->missed, missed);
		if (is_there(g))
			sample(g, &refused);
	}
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int start_gpu(struct sampler *s, unsigned index, struct err *e)
{
	struct gpu *g = &s->gpus[index];
	int r;

	g->sampler = s;
	g->index = index;
	snprintf(g->number, sizeof(g->number), "%u", index);
	snprintf(g->what, sizeof(g->what), "GPU %u", index);
	g->up = stats_cell(STAT_NVML_UP, g->number, NULL);
	g->rounds = stats_cell(STAT_NVML_ROUNDS, g->number, NULL);
	g->skipped = stats_cell(STAT_NVML_ROUNDS_SKIPPED, g->number, NULL);
	g->missed = stats_cell(STAT_NVML_ROUNDS_MISSED, g->number, NULL);
	r = rescan(g);
	stat_cell_set(g->up, 1);
	if (r)
		lose(g, r);
	else
		register_events(g);
	r = pthread_create(&g->thread, NULL, run_gpu, g);
	g->started = r == 0;
	return r ? err_set(e, -r, "cannot start a thread: %s", strerror(r)) : 0;
}

static int look_around(struct sampler *s, struct err *e)
{
	unsigned n = 0;
	int r = s->nvml.DeviceGetCount_v2(&n);

	if (!r)
		r = s->nvml.SystemGetDriverVersion(s->driver, sizeof(s->driver));
	if (r)
		return err_set(e, -ENODEV, "NVML: %s", nvml_error(&s->nvml, r));
	if (!n)
		return err_set(e, -ENODEV, "NVML shows no GPU on this machine");
	s->n = MIN(n, (unsigned)SAMPLER_GPUS_MAX);
	s->gpus = xcalloc(s->n, sizeof(*s->gpus));
	log_info("NVML: driver %s, %u GPUs, read every %lld ms", s->driver, s->n,
		 (long long)s->conf.interval_ms);
	return 0;
}

int sampler_open(struct sampler **ret, const struct sampler_conf *conf, struct err *e)
{
	struct sampler *s = xcalloc(1, sizeof(*s));
	int r;

	s->conf = *conf;
	s->open = true;
	pthread_mutex_init(&s->lock, NULL);
	if (conf->host.len)
		snprintf(s->host, sizeof(s->host), "%.*s", (int)conf->host.len, conf->host.p);
	else if (gethostname(s->host, sizeof(s->host) - 1))
		snprintf(s->host, sizeof(s->host), "localhost");
	r = nvml_open(&s->nvml, e);
	if (r) {
		free(s);
		return r;
	}
	r = look_around(s, e);
	for (unsigned i = 0; i < s->n && !r; i++)
		r = start_gpu(s, i, e);
	if (r) {
		daemon_stop();
		sampler_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* False: it is in a call of the driver that does not come back. */
static bool join(struct gpu *g)
{
	struct timespec ts;

	if (!g->started)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += CLOSE_WAIT_S;
	if (!pthread_clockjoin_np(g->thread, NULL, CLOCK_MONOTONIC, &ts))
		return true;
	log_warn("%s: the driver does not answer; it is left behind", g->what);
	return false;
}

void sampler_close(struct sampler *s)
{
	bool all = true;

	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++)
		all = join(&s->gpus[i]) && all;
	pthread_mutex_lock(&s->lock);
	s->open = false;
	pthread_mutex_unlock(&s->lock);
	if (!all)
		return; /* what such a thread may still touch stays until the process ends */
	for (unsigned i = 0; i < s->n; i++) {
		if (s->gpus[i].events)
			s->nvml.EventSetFree(s->gpus[i].events);
	}
	nvml_close(&s->nvml);
	pthread_mutex_destroy(&s->lock);
	free(s->gpus);
	free(s);
}
