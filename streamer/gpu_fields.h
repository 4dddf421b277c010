/* What is read of a GPU: one table of fields of DCGM, by the calls that give them. */
#ifndef GPUTEL_GPU_FIELDS_H
#define GPUTEL_GPU_FIELDS_H

#include "nvml.h"

#define GPU_VALUES_MAX 40 /* of all groups together */

/* What one call gives. */
struct gpu_values {
	struct {
		const char *metric; /* a literal */
		char text[24];
	} list[GPU_VALUES_MAX];
	size_t n;
};

struct gpu_field_group {
	const char *name; /* for people */
	/* Appends to *ret. An NVML result. */
	int (*read)(const struct nvml *n, nvml_device d, struct gpu_values *ret);
};

extern const struct gpu_field_group gpu_field_groups[];
extern const size_t gpu_field_groups_count; /* at most 32 */

#endif
