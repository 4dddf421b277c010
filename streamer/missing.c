#include "missing.h"

#include "log.h"

void missing_add(struct missing *m, struct slice metric)
{
	uintptr_t n = (uintptr_t)map_get(&m->counts, metric.p, metric.len);

	if (!n && map_count(&m->counts) >= MISSING_METRICS_MAX) {
		metric = SLICE_LIT("(other metrics)");
		n = (uintptr_t)map_get(&m->counts, metric.p, metric.len);
	}
	map_put(&m->counts, metric.p, metric.len, (void *)(n + 1));
}

void missing_release(struct missing *m)
{
	map_release(&m->counts);
}

void missing_tell(const struct missing *m, const char *source)
{
	for (uint32_t i = 0; i < m->counts.count; i++) {
		const struct map_entry *x = &m->counts.entries[i];

		log_info("%s: %s: %llu without a value", source, x->key,
			 (unsigned long long)(uintptr_t)x->value);
	}
}
