#include "missing.h"

#include "log.h"

static struct missing_metric *metric_new(struct missing *m, struct slice name)
{
	struct missing_metric *x = xcalloc(1, sizeof(*x));

	map_put(&m->metrics, name.p, name.len, x);
	x->total = stats_cell(STAT_NO_VALUE, m->metrics.entries[m->metrics.count - 1].key, NULL);
	return x;
}

void missing_add(struct missing *m, struct slice metric)
{
	struct missing_metric *x = map_get(&m->metrics, metric.p, metric.len);

	if (!x && map_count(&m->metrics) >= MISSING_METRICS_MAX) {
		metric = SLICE_LIT("(other metrics)");
		x = map_get(&m->metrics, metric.p, metric.len);
	}
	if (!x)
		x = metric_new(m, metric);
	x->rows++;
	stat_cell_add(x->total, 1);
}

void missing_release(struct missing *m)
{
	map_each (&m->metrics, i)
		free(m->metrics.entries[i].value);
	map_release(&m->metrics);
}

void missing_tell(const struct missing *m, const char *source)
{
	for (uint32_t i = 0; i < m->metrics.count; i++) {
		const struct missing_metric *x = m->metrics.entries[i].value;

		log_each(LOG_LEVEL_INFO, "%s: %s: %llu without a value", source,
			 m->metrics.entries[i].key, (unsigned long long)x->rows);
	}
}
