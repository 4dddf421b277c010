#include "nvml.h"

#include <dlfcn.h>

#define LIBRARY "libnvidia-ml.so.1"

#define FUNCTION(name, needed)                                                                     \
	{                                                                                          \
		"nvml" #name, offsetof(struct nvml, name), needed                                  \
	}

static const struct {
	const char *name;
	size_t at;
	bool needed;
} functions[] = {
	FUNCTION(Init_v2, true),
	FUNCTION(Shutdown, true),
	FUNCTION(ErrorString, true),
	FUNCTION(SystemGetDriverVersion, true),
	FUNCTION(DeviceGetCount_v2, true),
	FUNCTION(DeviceGetHandleByIndex_v2, true),
	FUNCTION(DeviceGetUUID, true),
	FUNCTION(DeviceGetName, true),
	FUNCTION(DeviceGetMinorNumber, false),
	FUNCTION(DeviceGetUtilizationRates, false),
	FUNCTION(DeviceGetMemoryInfo, false),
	FUNCTION(DeviceGetMemoryInfo_v2, false),
	FUNCTION(DeviceGetPowerUsage, false),
	FUNCTION(DeviceGetEnforcedPowerLimit, false),
	FUNCTION(DeviceGetTotalEnergyConsumption, false),
	FUNCTION(DeviceGetClockInfo, false),
	FUNCTION(DeviceGetTemperature, false),
	FUNCTION(DeviceGetFieldValues, false),
	FUNCTION(DeviceGetEncoderUtilization, false),
	FUNCTION(DeviceGetDecoderUtilization, false),
	FUNCTION(DeviceGetFanSpeed, false),
	FUNCTION(DeviceGetPerformanceState, false),
	FUNCTION(DeviceGetCurrentClocksThrottleReasons, false),
	FUNCTION(DeviceGetPcieReplayCounter, false),
	FUNCTION(DeviceGetCurrPcieLinkGeneration, false),
	FUNCTION(DeviceGetCurrPcieLinkWidth, false),
	FUNCTION(DeviceGetTotalEccErrors, false),
	FUNCTION(DeviceGetRemappedRows, false),
	FUNCTION(DeviceGetMigMode, false),
	FUNCTION(DeviceGetMaxMigDeviceCount, false),
	FUNCTION(DeviceGetMigDeviceHandleByIndex, false),
	FUNCTION(DeviceGetGpuInstanceId, false),
	FUNCTION(EventSetCreate, false),
	FUNCTION(EventSetFree, false),
	FUNCTION(EventSetWait_v2, false),
	FUNCTION(DeviceRegisterEvents, false),
};

static int find_functions(struct nvml *n, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		void *f = dlsym(n->handle, functions[i].name);

		if (!f && functions[i].needed)
			return err_set(e, -ENOSYS, LIBRARY " has no %s: it is too old",
				       functions[i].name);
		memcpy((char *)n + functions[i].at, &f, sizeof(f));
	}
	return 0;
}

int nvml_open(struct nvml *ret, struct err *e)
{
	struct nvml n = {.handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL)};
	int r;

	if (!n.handle)
		return err_set(e, -ENOENT,
			       "NVML cannot be loaded: %s (it comes with NVIDIA's driver; in a "
			       "container, with its runtime)",
			       dlerror());
	r = find_functions(&n, e);
	if (!r && (r = n.Init_v2()))
		r = err_set(e, -ENODEV, "NVML does not start: %s", nvml_error(&n, r));
	if (r) {
		dlclose(n.handle);
		return r;
	}
	*ret = n;
	return 0;
}

void nvml_close(struct nvml *n)
{
	n->Shutdown();
	dlclose(n->handle);
}

const char *nvml_error(const struct nvml *n, int result)
{
	const char *text = n->ErrorString(result);

	return text ? text : "unknown error";
}
