/* The GPUs of this machine, asked through NVML every interval, under the names and in the units of
 * DCGM's fields.
 *
 * Each GPU has a thread, so that one whose driver calls hang or fail holds up no other. A field
 * that a GPU does not have is asked for once, said once in the log, and left out; so is the failure
 * of one that it has, until it succeeds again. A GPU that is lost is looked for again every
 * SAMPLER_RESCAN_MS, as are its MIG instances, which are read beside it (their memory; what else
 * the driver has for them). Rows of one round share one time.
 *
 * DCGM_FI_DEV_XID_ERRORS is a row for each XID as it is told, at that time, and nothing in between:
 * a gauge of the last one would hide a second one, and never end. PCIe throughput is left out: the
 * driver measures it for 20 ms a call, in which the thread would wait. */
#ifndef GPUTEL_SAMPLER_H
#define GPUTEL_SAMPLER_H

#include "live.h"

#define SAMPLER_GPUS_MAX  64
#define SAMPLER_RESCAN_MS 60000

struct sampler;

struct sampler_conf {
	int64_t interval_ms;
	struct slice host; /* --host; empty: this machine's name */
	struct live *live;
};

/* -ENOENT, -ENODEV, -ENOSYS: as nvml_open says; -ENODEV also where there is no GPU. */
int sampler_open(struct sampler **ret, const struct sampler_conf *conf, struct err *e) must_check;
/* Nobody puts rows any more when it returns, also where a call into the driver hangs. NULL is fine.
 */
void sampler_close(struct sampler *s);

#endif
