/* A batch: rows of one host, as a message carries them from streamer to collector (schema v1).
 *
 * Payload, version 1:
 *	4  "gtb\1"
 *	u8 flags (1: zstd)   u32 CRC-32C of what follows
 *	u32 length of the tables   u32 bytes that they take here; raw, or one zstd frame:
 *	    lstr host
 *	    varint series,       each: lstr gpu, metric, device, model, driver, labels
 *	    varint attributions, each: lstr uuid, container, pod, namespace
 *	columns (columns.h), without hints
 * Little-endian. Names are the source's own text, not encoded: UTF-8 without NULs. labels is
 * canonical (labels.h). */
#ifndef GPUTEL_BATCH_H
#define GPUTEL_BATCH_H

#include "columns.h"

#define BATCH_ROWS_MAX    8192
#define BATCH_PAYLOAD_MAX (1024 * 1024)
#define BATCH_RAW_MAX     (16 * 1024 * 1024)

struct batch_series {
	struct slice gpu; /* gpu_id, or gpu_id.GPU_I_ID of a MIG instance */
	struct slice metric, device, model, driver, labels;
};

struct attribution {
	struct slice uuid, container, pod, namespace;
};

struct batch {
	struct slice host;
	struct batch_series *series;
	uint32_t n_series;
	struct attribution *attributions;
	uint32_t n_attributions;
	struct rows rows;  /* filled by batch_decode */
	struct strbuf mem; /* what a decoded batch's slices point into */
};

/* Appends the payload. The batch is described by its fields and n rows. */
void batch_encode(struct strbuf *out, const struct batch *b, const struct row *rows, size_t n);

/* -EBADMSG with the reason in e. Zero *ret before first use; release it in any case. */
int batch_decode(const void *p, size_t n, struct batch *ret, struct err *e) must_check;
void batch_release(struct batch *b);

#endif
