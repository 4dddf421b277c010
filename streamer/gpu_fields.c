#include "gpu_fields.h"

#include <stdio.h>

#define MIB (1024ull * 1024)

static void add(struct gpu_values *v, const char *metric, unsigned long long value)
{
	if (v->n == GPU_VALUES_MAX)
		return;
	v->list[v->n].metric = metric;
	snprintf(v->list[v->n++].text, sizeof(v->list[0].text), "%llu", value);
}

/* Milliwatts as watts, exactly. */
static void add_watts(struct gpu_values *v, const char *metric, unsigned mw)
{
	size_t at = v->n;

	add(v, metric, 0);
	if (v->n > at)
		snprintf(v->list[at].text, sizeof(v->list[0].text), "%u.%03u", mw / 1000,
			 mw % 1000);
}

/* A call that gives one number. args: between the device and the result. */
#define READ_NUMBER(function, type, metric, ...)                                                   \
	static int read_##metric(const struct nvml *n, nvml_device d, struct gpu_values *ret)      \
	{                                                                                          \
		type v = 0;                                                                        \
		int r = n->function ? n->function(d, ##__VA_ARGS__, &v) : NVML_FUNCTION_NOT_FOUND; \
                                                                                                   \
		if (!r)                                                                            \
			add(ret, "DCGM_FI_DEV_" #metric, (unsigned long long)v);                   \
		return r;                                                                          \
	}

READ_NUMBER(DeviceGetTotalEnergyConsumption, unsigned long long, TOTAL_ENERGY_CONSUMPTION)
READ_NUMBER(DeviceGetClockInfo, unsigned, SM_CLOCK, NVML_CLOCK_SM)
READ_NUMBER(DeviceGetClockInfo, unsigned, MEM_CLOCK, NVML_CLOCK_MEM)
READ_NUMBER(DeviceGetTemperature, unsigned, GPU_TEMP, 0)
READ_NUMBER(DeviceGetFanSpeed, unsigned, FAN_SPEED)
READ_NUMBER(DeviceGetPerformanceState, int, PSTATE)
READ_NUMBER(DeviceGetCurrentClocksThrottleReasons, unsigned long long, CLOCK_THROTTLE_REASONS)
READ_NUMBER(DeviceGetPcieReplayCounter, unsigned, PCIE_REPLAY_COUNTER)
READ_NUMBER(DeviceGetCurrPcieLinkGeneration, unsigned, PCIE_LINK_GEN)
READ_NUMBER(DeviceGetCurrPcieLinkWidth, unsigned, PCIE_LINK_WIDTH)
READ_NUMBER(DeviceGetTotalEccErrors, unsigned long long, ECC_SBE_VOL_TOTAL, NVML_CORRECTED,
	    NVML_VOLATILE)
READ_NUMBER(DeviceGetTotalEccErrors, unsigned long long, ECC_DBE_VOL_TOTAL, NVML_UNCORRECTED,
	    NVML_VOLATILE)
READ_NUMBER(DeviceGetTotalEccErrors, unsigned long long, ECC_SBE_AGG_TOTAL, NVML_CORRECTED,
	    NVML_AGGREGATE)
READ_NUMBER(DeviceGetTotalEccErrors, unsigned long long, ECC_DBE_AGG_TOTAL, NVML_UNCORRECTED,
	    NVML_AGGREGATE)

static int read_utilization(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	struct nvml_utilization u;
	int r = n->DeviceGetUtilizationRates ? n->DeviceGetUtilizationRates(d, &u)
					     : NVML_FUNCTION_NOT_FOUND;

	if (!r) {
		add(ret, "DCGM_FI_DEV_GPU_UTIL", u.gpu);
		add(ret, "DCGM_FI_DEV_MEM_COPY_UTIL", u.memory);
	}
	return r;
}

/* Of an older library, where what is reserved counts as used. */
static int read_memory1(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	struct nvml_memory m;
	int r = n->DeviceGetMemoryInfo ? n->DeviceGetMemoryInfo(d, &m) : NVML_FUNCTION_NOT_FOUND;

	if (!r) {
		add(ret, "DCGM_FI_DEV_FB_TOTAL", m.total / MIB);
		add(ret, "DCGM_FI_DEV_FB_FREE", m.free / MIB);
		add(ret, "DCGM_FI_DEV_FB_USED", m.used / MIB);
	}
	return r;
}

static int read_memory(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	struct nvml_memory2 m = {.version = NVML_MEMORY_VERSION2};
	int r = n->DeviceGetMemoryInfo_v2 ? n->DeviceGetMemoryInfo_v2(d, &m)
					  : NVML_FUNCTION_NOT_FOUND;

	if (r == NVML_FUNCTION_NOT_FOUND || r == NVML_NOT_SUPPORTED || r == NVML_INVALID_ARGUMENT)
		return read_memory1(n, d, ret);
	if (!r) {
		add(ret, "DCGM_FI_DEV_FB_TOTAL", m.total / MIB);
		add(ret, "DCGM_FI_DEV_FB_FREE", m.free / MIB);
		add(ret, "DCGM_FI_DEV_FB_USED", m.used / MIB);
		add(ret, "DCGM_FI_DEV_FB_RESERVED", m.reserved / MIB);
	}
	return r;
}

static int read_power(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	unsigned mw;
	int r = n->DeviceGetPowerUsage ? n->DeviceGetPowerUsage(d, &mw) : NVML_FUNCTION_NOT_FOUND;

	if (!r)
		add_watts(ret, "DCGM_FI_DEV_POWER_USAGE", mw);
	return r;
}

static int read_power_limit(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	unsigned mw;
	int r = n->DeviceGetEnforcedPowerLimit ? n->DeviceGetEnforcedPowerLimit(d, &mw)
					       : NVML_FUNCTION_NOT_FOUND;

	if (!r)
		add_watts(ret, "DCGM_FI_DEV_ENFORCED_POWER_LIMIT", mw);
	return r;
}

static unsigned long long number_of(const struct nvml_field_value *f)
{
	switch (f->type) {
	case NVML_TYPE_UINT:
		return f->value.u;
	case NVML_TYPE_ULONG:
		return f->value.ul;
	case NVML_TYPE_DOUBLE:
		return f->value.d > 0 ? (unsigned long long)f->value.d : 0;
	default:
		return f->value.ull;
	}
}

static int read_memory_temperature(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	struct nvml_field_value f = {.id = NVML_FIELD_MEMORY_TEMP};
	int r = n->DeviceGetFieldValues ? n->DeviceGetFieldValues(d, 1, &f)
					: NVML_FUNCTION_NOT_FOUND;

	if (r || f.result)
		return r ? r : f.result;
	add(ret, "DCGM_FI_DEV_MEMORY_TEMP", number_of(&f));
	return 0;
}

static int read_encoder(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	unsigned v, period_us;
	int r = n->DeviceGetEncoderUtilization ? n->DeviceGetEncoderUtilization(d, &v, &period_us)
					       : NVML_FUNCTION_NOT_FOUND;

	if (!r)
		add(ret, "DCGM_FI_DEV_ENC_UTIL", v);
	return r;
}

static int read_decoder(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	unsigned v, period_us;
	int r = n->DeviceGetDecoderUtilization ? n->DeviceGetDecoderUtilization(d, &v, &period_us)
					       : NVML_FUNCTION_NOT_FOUND;

	if (!r)
		add(ret, "DCGM_FI_DEV_DEC_UTIL", v);
	return r;
}

static int read_remapped_rows(const struct nvml *n, nvml_device d, struct gpu_values *ret)
{
	unsigned corrected, uncorrected, pending, failed;
	int r = n->DeviceGetRemappedRows
			? n->DeviceGetRemappedRows(d, &corrected, &uncorrected, &pending, &failed)
			: NVML_FUNCTION_NOT_FOUND;

	if (!r) {
		add(ret, "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", corrected);
		add(ret, "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", uncorrected);
		add(ret, "DCGM_FI_DEV_ROW_REMAP_PENDING", pending);
		add(ret, "DCGM_FI_DEV_ROW_REMAP_FAILURE", failed);
	}
	return r;
}

const struct gpu_field_group gpu_field_groups[] = {
	{"utilization", read_utilization},
	{"memory", read_memory},
	{"power usage", read_power},
	{"power limit", read_power_limit},
	{"energy", read_TOTAL_ENERGY_CONSUMPTION},
	{"SM clock", read_SM_CLOCK},
	{"memory clock", read_MEM_CLOCK},
	{"temperature", read_GPU_TEMP},
	{"memory temperature", read_memory_temperature},
	{"encoder utilization", read_encoder},
	{"decoder utilization", read_decoder},
	{"fan speed", read_FAN_SPEED},
	{"performance state", read_PSTATE},
	{"throttle reasons", read_CLOCK_THROTTLE_REASONS},
	{"PCIe replays", read_PCIE_REPLAY_COUNTER},
	{"PCIe link generation", read_PCIE_LINK_GEN},
	{"PCIe link width", read_PCIE_LINK_WIDTH},
	{"corrected ECC errors", read_ECC_SBE_VOL_TOTAL},
	{"uncorrected ECC errors", read_ECC_DBE_VOL_TOTAL},
	{"corrected ECC errors of its life", read_ECC_SBE_AGG_TOTAL},
	{"uncorrected ECC errors of its life", read_ECC_DBE_AGG_TOTAL},
	{"remapped rows", read_remapped_rows},
};

const size_t gpu_field_groups_count = ARRAY_SIZE(gpu_field_groups);
_Static_assert(ARRAY_SIZE(gpu_field_groups) <= 32, "masks have 32 bits");
