#include "units.h"

#include <strings.h>

#define METRIC_LOOKED_AT 255 /* bytes of its name */

/* ---- metrics --------------------------------------------------------------------------------- */

/* Looked up by exact name, then by what the name ends in. From dcgm_fields.h and dcgm-exporter's
 * default-counters.csv. */
static const struct {
	const char *metric, *unit;
} units[] = {
	{"DCGM_FI_DEV_POWER_USAGE", "W"},
	{"DCGM_FI_DEV_POWER_USAGE_INSTANT", "W"},
	{"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "mJ"},
	{"DCGM_FI_DEV_PCIE_TX_THROUGHPUT", "KB/s"},
	{"DCGM_FI_DEV_PCIE_RX_THROUGHPUT", "KB/s"},
	{"DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "MB/s"},
	{"DCGM_FI_DEV_FB_USED_PERCENT", "ratio"},
	{"DCGM_FI_DEV_FAN_SPEED", "%"},
	{"DCGM_FI_PROF_PCIE_TX_BYTES", "B/s"},
	{"DCGM_FI_PROF_PCIE_RX_BYTES", "B/s"},
	{"DCGM_FI_PROF_NVLINK_TX_BYTES", "B/s"},
	{"DCGM_FI_PROF_NVLINK_RX_BYTES", "B/s"},
};

static const struct {
	const char *part, *unit;
	bool suffix; /* else a prefix */
} unit_rules[] = {
	{"_UTIL", "%", true},
	{"_TEMP", "C", true},
	{"_TEMP_CURRENT", "C", true},
	{"_CLOCK", "MHz", true},
	{"_VIOLATION", "us", true},
	{"_POWER_LIMIT", "W", true},
	{"DCGM_FI_DEV_POWER_MGMT_LIMIT", "W", false},
	{"DCGM_FI_DEV_FB_", "MiB", false},
	{"DCGM_FI_DEV_BAR1_", "MiB", false},
	{"DCGM_FI_PROF_", "ratio", false},
};

const char *metric_unit(const char *metric)
{
	size_t len = strlen(metric);

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(metric, units[i].metric))
			return units[i].unit;
	for (size_t i = 0; i < ARRAY_SIZE(unit_rules); i++) {
		size_t n = strlen(unit_rules[i].part);
		size_t at = unit_rules[i].suffix && len > n ? len - n : 0;

		if (!strncmp(metric + at, unit_rules[i].part, n))
			return unit_rules[i].unit;
	}
	return "-";
}

bool metric_is_percentage(struct slice metric)
{
	char name[METRIC_LOOKED_AT + 1] = "";

	if (metric.len)
		memcpy(name, metric.p, MIN(metric.len, (size_t)METRIC_LOOKED_AT));
	return !strcmp(metric_unit(name), "%");
}

/* ---- units ----------------------------------------------------------------------------------- */

enum dimension { SHARE, CELSIUS, WATT, JOULE, BYTE, BYTES_PER_S, HERTZ, RPM, SECOND };

static const struct unit {
	const char *name;
	enum dimension dimension;
	uint64_t size; /* in the least one of its dimension */
} known[] = {
	{"ratio", SHARE, 100},
	{"%", SHARE, 1},
	{"pct", SHARE, 1},
	{"percent", SHARE, 1},
	{"C", CELSIUS, 1},
	{"°C", CELSIUS, 1},
	{"celsius", CELSIUS, 1},
	{"mW", WATT, 1},
	{"W", WATT, 1000},
	{"watts", WATT, 1000},
	{"kW", WATT, 1000000},
	{"uJ", JOULE, 1},
	{"mJ", JOULE, 1000},
	{"J", JOULE, 1000000},
	{"kJ", JOULE, 1000000000},
	{"B", BYTE, 1},
	{"bytes", BYTE, 1},
	{"KiB", BYTE, 1024},
	{"kB", BYTE, 1024},
	{"MiB", BYTE, 1048576},
	{"MB", BYTE, 1048576},
	{"GiB", BYTE, 1073741824},
	{"GB", BYTE, 1073741824},
	{"B/s", BYTES_PER_S, 1},
	{"kB/s", BYTES_PER_S, 1000},
	{"MB/s", BYTES_PER_S, 1000000},
	{"GB/s", BYTES_PER_S, 1000000000},
	{"Hz", HERTZ, 1},
	{"kHz", HERTZ, 1000},
	{"MHz", HERTZ, 1000000},
	{"GHz", HERTZ, 1000000000},
	{"RPM", RPM, 1},
	{"ns", SECOND, 1},
	{"us", SECOND, 1000},
	{"ms", SECOND, 1000000},
	{"s", SECOND, 1000000000},
};

/* mW and MW are told apart by nobody here: there is no MW. */
static const struct unit *find_unit(struct slice s)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		const char *name = known[i].name;

		if (strlen(name) == s.len && !strncasecmp(name, s.p, s.len))
			return &known[i];
	}
	return NULL;
}

bool unit_is_known(struct slice s)
{
	return find_unit(s) != NULL;
}

/* a / b as a decimal, if it is one of few digits. */
static bool quotient(uint64_t a, uint64_t b, struct factor *ret)
{
	unsigned __int128 n = a;
	struct factor f = {0};

	while (n % b) {
		if (f.digits == 2 * FACTOR_DIGITS_MAX || n > ((unsigned __int128)1 << 100))
			return false;
		n *= 10;
		f.digits++;
	}
	n /= b;
	f.mantissa = (uint64_t)n;
	if (n >= 1000000000000000000u)
		return false;
	*ret = f;
	return true;
}

bool unit_factor(struct slice from, struct slice to, struct factor *ret)
{
	const struct unit *a = find_unit(from), *b = find_unit(to);

	return a && b && a->dimension == b->dimension && quotient(a->size, b->size, ret);
}
