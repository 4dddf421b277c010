/* A double of libnvidia-ml.so.1 for tests: GPUs whose values are their number's, as the file that
 * FAKE_NVML names says at the moment of each call. Its lines:
 *	gpus N             so many (default 2)
 *	nodriver           nvmlInit fails
 *	mig I N            GPU I has N instances, 1 … N
 *	unsupported WORD   calls with this word in their name are not supported
 *	failing WORD       … fail with an unknown error
 *	lost I             GPU I is lost
 *	hang I             calls for GPU I do not return
 *	xid I CODE         told once */
#include "../../streamer/nvml.h"

#include <stdio.h>
#include <unistd.h>

enum { GPUS = 64, INSTANCES = 8, UNKNOWN = 999 };

#define EXPORTED __attribute__((visibility("default")))
#define GIB      (1024ull * 1024 * 1024)
#define FUNCTION(...)                                                                              \
	EXPORTED int __VA_ARGS__;                                                                  \
	EXPORTED int __VA_ARGS__

struct nvml_device_handle {
	unsigned gpu, instance; /* instance 0: the GPU itself */
};

struct nvml_event_set_handle {
	nvml_device device;
	int told;
};

static struct nvml_device_handle devices[GPUS][INSTANCES];

/* Whether a line `word a …` is there; *ret_b gets its second number. */
static int said(const char *word, int a, int *ret_b)
{
	const char *path = getenv("FAKE_NVML");
	FILE *f = path ? fopen(path, "re") : NULL;
	char line[256], name[64];
	int found = 0, x, y;

	while (f && !found && fgets(line, sizeof(line), f)) {
		int n = sscanf(line, "%63s %d %d", name, &x, &y);

		if (n < 1 || strcmp(name, word) || (a >= 0 && (n < 2 || x != a)))
			continue;
		found = 1;
		if (ret_b)
			*ret_b = a < 0 ? x : y;
	}
	if (f)
		fclose(f);
	return found;
}

/* Whether a line `word TEXT` has a TEXT that is part of name. */
static int said_of(const char *word, const char *name)
{
	const char *path = getenv("FAKE_NVML");
	FILE *f = path ? fopen(path, "re") : NULL;
	char line[256], key[64], text[64];
	int found = 0;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%63s %63s", key, text) == 2 && !strcmp(key, word) &&
			strstr(name, text);
	if (f)
		fclose(f);
	return found;
}

static int check(const char *function, nvml_device d)
{
	if (said("lost", (int)d->gpu, NULL))
		return NVML_GPU_IS_LOST;
	while (said("hang", (int)d->gpu, NULL))
		usleep(100000);
	if (said_of("unsupported", function))
		return NVML_NOT_SUPPORTED;
	return said_of("failing", function) ? UNKNOWN : NVML_OK;
}

/* What only a whole GPU has. */
static int check_gpu(const char *function, nvml_device d)
{
	return d->instance ? NVML_NOT_SUPPORTED : check(function, d);
}

static unsigned count(void)
{
	int n = 2;

	said("gpus", -1, &n);
	return (unsigned)n;
}

FUNCTION(nvmlInit_v2(void))
{
	for (unsigned i = 0; i < GPUS * INSTANCES; i++)
		devices[i / INSTANCES][i % INSTANCES] =
			(struct nvml_device_handle){i / INSTANCES, i % INSTANCES};
	return said("nodriver", -1, NULL) ? NVML_DRIVER_NOT_LOADED : NVML_OK;
}

FUNCTION(nvmlShutdown(void))
{
	return NVML_OK;
}

EXPORTED const char *nvmlErrorString(int result);
EXPORTED const char *nvmlErrorString(int result)
{
	switch (result) {
	case NVML_NOT_SUPPORTED:
		return "Not Supported";
	case NVML_DRIVER_NOT_LOADED:
		return "Driver Not Loaded";
	case NVML_GPU_IS_LOST:
		return "GPU is lost";
	default:
		return "Unknown Error";
	}
}

FUNCTION(nvmlSystemGetDriverVersion(char *ret, unsigned len))
{
	snprintf(ret, len, "535.129.03");
	return NVML_OK;
}

FUNCTION(nvmlDeviceGetCount_v2(unsigned *ret))
{
	*ret = count();
	return NVML_OK;
}

FUNCTION(nvmlDeviceGetHandleByIndex_v2(unsigned index, nvml_device *ret))
{
	if (index >= count())
		return NVML_INVALID_ARGUMENT;
	*ret = &devices[index][0];
	return said("lost", (int)index, NULL) ? NVML_GPU_IS_LOST : NVML_OK;
}

FUNCTION(nvmlDeviceGetUUID(nvml_device d, char *ret, unsigned len))
{
	if (d->instance)
		snprintf(ret, len, "MIG-0000-%u-%u", d->gpu, d->instance);
	else
		snprintf(ret, len, "GPU-0000-%u", d->gpu);
	return NVML_OK;
}

FUNCTION(nvmlDeviceGetName(nvml_device d, char *ret, unsigned len))
{
	snprintf(ret, len, "NVIDIA H100 80GB HBM3%s", d->instance ? " MIG 1g.10gb" : "");
	return NVML_OK;
}

FUNCTION(nvmlDeviceGetMinorNumber(nvml_device d, unsigned *ret))
{
	*ret = d->gpu;
	return NVML_OK;
}

FUNCTION(nvmlDeviceGetUtilizationRates(nvml_device d, struct nvml_utilization *ret))
{
	*ret = (struct nvml_utilization){80 + d->gpu, 40 + d->gpu};
	return check_gpu(__func__, d);
}

FUNCTION(nvmlDeviceGetMemoryInfo_v2(nvml_device d, struct nvml_memory2 *ret))
{
	if (ret->version != NVML_MEMORY_VERSION2)
		return NVML_INVALID_ARGUMENT;
	*ret = (struct nvml_memory2){ret->version, 80 * GIB, GIB, 60 * GIB, 19 * GIB};
	if (d->instance)
		*ret = (struct nvml_memory2){ret->version, 10 * GIB, 0, 8 * GIB, 2 * GIB};
	return check(__func__, d);
}

FUNCTION(nvmlDeviceGetMemoryInfo(nvml_device d, struct nvml_memory *ret))
{
	*ret = (struct nvml_memory){80 * GIB, 60 * GIB, 20 * GIB};
	return check("nvmlDeviceGetMemoryInfo_v1", d);
}

#define NUMBER(name, type, value)                                                                  \
	FUNCTION(name(nvml_device d, type *ret))                                                   \
	{                                                                                          \
		*ret = (type)(value);                                                              \
		return check_gpu(__func__, d);                                                     \
	}

NUMBER(nvmlDeviceGetPowerUsage, unsigned, 67351 + d->gpu)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, 700000)
NUMBER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, 123456789012345 + d->gpu)
NUMBER(nvmlDeviceGetFanSpeed, unsigned, 30)
NUMBER(nvmlDeviceGetPerformanceState, int, 0)
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, 4)
NUMBER(nvmlDeviceGetPcieReplayCounter, unsigned, 7)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, 5)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, 16)

FUNCTION(nvmlDeviceGetClockInfo(nvml_device d, int clock, unsigned *ret))
{
	*ret = clock == NVML_CLOCK_SM ? 1980 : 2619;
	return check_gpu(__func__, d);
}

FUNCTION(nvmlDeviceGetTemperature(nvml_device d, int sensor, unsigned *ret))
{
	*ret = 50 + d->gpu + (unsigned)sensor;
	return check_gpu(__func__, d);
}

FUNCTION(nvmlDeviceGetFieldValues(nvml_device d, int n, struct nvml_field_value *values))
{
	for (int i = 0; i < n; i++) {
		values[i].type = NVML_TYPE_UINT;
		values[i].value.u = 60;
		values[i].result =
			values[i].id == NVML_FIELD_MEMORY_TEMP ? NVML_OK : NVML_NOT_SUPPORTED;
	}
	return check_gpu(__func__, d);
}

FUNCTION(nvmlDeviceGetEncoderUtilization(nvml_device d, unsigned *ret, unsigned *ret_us))
{
	*ret = 1;
	*ret_us = 167000;
	return check_gpu(__func__, d);
}

FUNCTION(nvmlDeviceGetDecoderUtilization(nvml_device d, unsigned *ret, unsigned *ret_us))
{
	*ret = 2;
	*ret_us = 167000;
	return check_gpu(__func__, d);
}

FUNCTION(nvmlDeviceGetTotalEccErrors(nvml_device d, int kind, int counter, unsigned long long *ret))
{
	*ret = (unsigned long long)(10 * counter + kind);
	return check_gpu(__func__, d);
}

FUNCTION(nvmlDeviceGetRemappedRows(nvml_device d, unsigned *a, unsigned *b, unsigned *c,
				   unsigned *e))
{
	*a = *b = *c = *e = 0;
	return check_gpu(__func__, d);
}

FUNCTION(nvmlDeviceGetMigMode(nvml_device d, unsigned *ret, unsigned *ret_pending))
{
	*ret = *ret_pending = said("mig", (int)d->gpu, NULL) ? 1 : 0;
	return NVML_OK;
}

FUNCTION(nvmlDeviceGetMaxMigDeviceCount(nvml_device d, unsigned *ret))
{
	*ret = INSTANCES - 1;
	return NVML_OK;
}

FUNCTION(nvmlDeviceGetMigDeviceHandleByIndex(nvml_device d, unsigned i, nvml_device *ret))
{
	int n = 0;

	said("mig", (int)d->gpu, &n);
	if (i >= (unsigned)n)
		return NVML_NOT_FOUND;
	*ret = &devices[d->gpu][i + 1];
	return NVML_OK;
}

FUNCTION(nvmlDeviceGetGpuInstanceId(nvml_device d, unsigned *ret))
{
	*ret = d->instance;
	return NVML_OK;
}

FUNCTION(nvmlEventSetCreate(nvml_event_set *ret))
{
	*ret = calloc(1, sizeof(**ret));
	return NVML_OK;
}

FUNCTION(nvmlEventSetFree(nvml_event_set set))
{
	free(set);
	return NVML_OK;
}

FUNCTION(nvmlDeviceRegisterEvents(nvml_device d, unsigned long long types, nvml_event_set set))
{
	set->device = d;
	return types == NVML_EVENT_XID ? NVML_OK : NVML_INVALID_ARGUMENT;
}

FUNCTION(nvmlEventSetWait_v2(nvml_event_set set, struct nvml_event *ret, unsigned ms))
{
	int code;

	if (set->told || !set->device || !said("xid", (int)set->device->gpu, &code))
		return NVML_TIMEOUT;
	set->told = 1;
	*ret = (struct nvml_event){set->device, NVML_EVENT_XID, (unsigned long long)code, ~0u, ~0u};
	return NVML_OK;
}
