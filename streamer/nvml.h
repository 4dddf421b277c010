/* NVIDIA's management library, loaded at run time (libnvidia-ml.so.1, which comes with the driver),
 * and what of it is used here. Declared after its public reference
 * (https://docs.nvidia.com/deploy/nvml-api/), so that nothing of it is needed to build.
 *
 * Functions that a library is too old for are NULL; those without which nothing works are there.
 * The library is thread-safe. */
#ifndef GPUTEL_NVML_H
#define GPUTEL_NVML_H

#include "base.h"

#define NVML_TEXT_MAX 96 /* bytes of a uuid, a name or a version */

/* Results of every function. */
enum {
	NVML_OK = 0,
	NVML_UNINITIALIZED = 1,
	NVML_INVALID_ARGUMENT = 2,
	NVML_NOT_SUPPORTED = 3,
	NVML_NO_PERMISSION = 4,
	NVML_NOT_FOUND = 6,
	NVML_DRIVER_NOT_LOADED = 9,
	NVML_TIMEOUT = 10,
	NVML_FUNCTION_NOT_FOUND = 13,
	NVML_GPU_IS_LOST = 15,
	NVML_RESET_REQUIRED = 16,
};

enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2 };
enum { NVML_CORRECTED = 0, NVML_UNCORRECTED = 1 };
enum { NVML_VOLATILE = 0, NVML_AGGREGATE = 1 };
enum { NVML_FIELD_MEMORY_TEMP = 82 };
enum { NVML_TYPE_DOUBLE, NVML_TYPE_UINT, NVML_TYPE_ULONG, NVML_TYPE_ULONGLONG, NVML_TYPE_LONGLONG };
#define NVML_EVENT_XID       0x8ULL
#define NVML_MEMORY_VERSION2 ((unsigned)sizeof(struct nvml_memory2) | 2u << 24)

typedef struct nvml_device_handle *nvml_device;
typedef struct nvml_event_set_handle *nvml_event_set;

struct nvml_utilization {
	unsigned gpu, memory; /* % */
};

struct nvml_memory {
	unsigned long long total, free, used; /* used: with what is reserved */
};

struct nvml_memory2 {
	unsigned version;
	unsigned long long total, reserved, free, used;
};

struct nvml_field_value {
	unsigned id, scope;
	long long timestamp, latency_us;
	int type, result;
	union {
		double d;
		unsigned u;
		unsigned long ul;
		unsigned long long ull;
		long long ll;
	} value;
};

struct nvml_event {
	nvml_device device;
	unsigned long long type, data; /* data: the XID */
	unsigned gpu_instance, compute_instance;
};

/* As in the library, without nvml in front. */
struct nvml {
	void *handle;
	int (*Init_v2)(void);
	int (*Shutdown)(void);
	const char *(*ErrorString)(int result);
	int (*SystemGetDriverVersion)(char *ret, unsigned len);
	int (*DeviceGetCount_v2)(unsigned *ret);
	int (*DeviceGetHandleByIndex_v2)(unsigned index, nvml_device *ret);
	int (*DeviceGetUUID)(nvml_device d, char *ret, unsigned len);
	int (*DeviceGetName)(nvml_device d, char *ret, unsigned len);
	int (*DeviceGetMinorNumber)(nvml_device d, unsigned *ret);
	int (*DeviceGetUtilizationRates)(nvml_device d, struct nvml_utilization *ret);
	int (*DeviceGetMemoryInfo)(nvml_device d, struct nvml_memory *ret);
	int (*DeviceGetMemoryInfo_v2)(nvml_device d, struct nvml_memory2 *ret);
	int (*DeviceGetPowerUsage)(nvml_device d, unsigned *ret_mw);
	int (*DeviceGetEnforcedPowerLimit)(nvml_device d, unsigned *ret_mw);
	int (*DeviceGetTotalEnergyConsumption)(nvml_device d, unsigned long long *ret_mj);
	int (*DeviceGetClockInfo)(nvml_device d, int clock, unsigned *ret_mhz);
	int (*DeviceGetTemperature)(nvml_device d, int sensor, unsigned *ret_c);
	int (*DeviceGetFieldValues)(nvml_device d, int n, struct nvml_field_value *values);
	int (*DeviceGetEncoderUtilization)(nvml_device d, unsigned *ret, unsigned *ret_period_us);
	int (*DeviceGetDecoderUtilization)(nvml_device d, unsigned *ret, unsigned *ret_period_us);
	int (*DeviceGetFanSpeed)(nvml_device d, unsigned *ret);
	int (*DeviceGetPerformanceState)(nvml_device d, int *ret);
	int (*DeviceGetCurrentClocksThrottleReasons)(nvml_device d, unsigned long long *ret);
	int (*DeviceGetPcieReplayCounter)(nvml_device d, unsigned *ret);
	int (*DeviceGetCurrPcieLinkGeneration)(nvml_device d, unsigned *ret);
	int (*DeviceGetCurrPcieLinkWidth)(nvml_device d, unsigned *ret);
	int (*DeviceGetTotalEccErrors)(nvml_device d, int kind, int counter,
				       unsigned long long *ret);
	int (*DeviceGetRemappedRows)(nvml_device d, unsigned *corrected, unsigned *uncorrected,
				     unsigned *pending, unsigned *failed);
	int (*DeviceGetMigMode)(nvml_device d, unsigned *ret_current, unsigned *ret_pending);
	int (*DeviceGetMaxMigDeviceCount)(nvml_device d, unsigned *ret);
	int (*DeviceGetMigDeviceHandleByIndex)(nvml_device d, unsigned i, nvml_device *ret);
	int (*DeviceGetGpuInstanceId)(nvml_device d, unsigned *ret);
	int (*EventSetCreate)(nvml_event_set *ret);
	int (*EventSetFree)(nvml_event_set set);
	int (*EventSetWait_v2)(nvml_event_set set, struct nvml_event *ret, unsigned ms);
	int (*DeviceRegisterEvents)(nvml_device d, unsigned long long types, nvml_event_set set);
};

/* Loads and initialises. -ENOENT: there is no such library; -ENODEV: it has no driver; -ENOSYS: it
 * lacks what nothing works without. e says what to do about it. */
int nvml_open(struct nvml *ret, struct err *e) must_check;
void nvml_close(struct nvml *n);

const char *nvml_error(const struct nvml *n, int result);

#endif
