/* A GPU's identity: what its folder is, and the table of its series. One JSON value per GPU at
 * /telemetry/gpus/{host}/{gpu}, written by the host's writer in the same transaction as the first
 * chunk that needs what is new in it.
 *	{"v":1,"hostname":"h","gpu_id":"0","incarnation":"9f…","uuid":"GPU-…","device":"nvidia0",
 *	 "model":"…","driver":"535.129.03","as_of":ns,"labels":"instance=\"h:9400\",job=\"dcgm\"",
 *	 "series":[{"metric":"DCGM_FI_DEV_GPU_UTIL","labels":""},…]}
 *
 * Invariants that stored data depends on: a series' id is its index and never changes within an
 * incarnation; labels are fixed at the first store, and a row's own labels are what differs from
 * them, so that bytes already shown stay as they are. uuid, device, model and driver are those of
 * the newest row (by event time, as_of) and do change. */
#ifndef GPUTEL_IDENTITY_H
#define GPUTEL_IDENTITY_H

#include "keys.h"
#include "map.h"
#include "strbuf.h"

#define IDENTITY_SERIES_MAX 4096 /* per GPU; a message that needs more is dead-lettered */
/* Most bytes of a metric's encoded name beside labels: the file's name may have to hold their hash.
 */
#define METRIC_NAME_MAX (NAME_MAX_ENCODED - 27)

struct series {
	char *metric;
	char *labels; /* canonical; what differs from the identity's; "" mostly */
	char *name;   /* METRIC or METRIC{k="v"}: the file's name, not encoded */
};

struct identity {
	char *host, *gpu; /* as the source wrote them */
	uint64_t incarnation;
	char *uuid, *device, *model, *driver;
	int64_t as_of_ns;
	char *labels;
	struct series *series;
	uint32_t n_series;
	struct map by_name; /* series name → index + 1 as a pointer */
};

struct identity *identity_new(struct slice host, struct slice gpu, uint64_t incarnation,
			      struct slice labels);
void identity_free(struct identity *id);
struct identity *identity_copy(const struct identity *id);

void identity_encode(struct strbuf *out, const struct identity *id);
/* -EBADMSG with the reason in e. */
int identity_decode(struct slice json, struct identity **ret, struct err *e) must_check;

/* The series of metric and a row's canonical labels, added if new (*ret_added, may be NULL).
 * -ENOSPC: IDENTITY_SERIES_MAX. -ENAMETOOLONG: its file name would exceed 255 bytes encoded. */
int identity_series(struct identity *id, struct slice metric, struct slice labels, uint32_t *ret,
		    bool *ret_added) must_check;

#endif
