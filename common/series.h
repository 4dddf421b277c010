/* Series as the streamer knows them: what of a row is the same every time.
 *
 * All fields of a row but time and value make up its key, as raw bytes. At first sight of a key its
 * fields are validated and brought into canonical form, once; afterwards the row costs a
 * comparison: the series that followed the last one the last time is tried before the table.
 *
 * The table has a ceiling, in entries and bytes. At the ceiling series_add returns -ENOBUFS; the
 * caller lets go of every series_ref that it holds (closes its window), calls series_forget and
 * goes on with the same row.
 *
 * Not thread-safe. */
#ifndef GPUTEL_SERIES_H
#define GPUTEL_SERIES_H

#include "batch.h"

#define SERIES_TABLE_MAX   (1024 * 1024)
#define SERIES_TABLE_BYTES (256 * 1024 * 1024)

enum series_field {
	FIELD_HOST, /* needed, as the next two */
	FIELD_GPU,
	FIELD_METRIC,
	FIELD_DEVICE,
	FIELD_UUID,
	FIELD_MODEL,
	FIELD_CONTAINER,
	FIELD_POD,
	FIELD_NAMESPACE,
	FIELD_LABELS, /* as in labels_raw */
	FIELD_COUNT,
};

/* The ids count from 0 by first sight since series_forget, and two refs have an id in common
 * exactly if they have what it stands for in common. */
struct series_ref {
	uint32_t id;             /* of the key */
	uint32_t host_id;        /* host */
	uint32_t gpu_id;         /* host and gpu */
	uint32_t series_id;      /* host and series */
	uint32_t attribution_id; /* attribution */
	bool percent;            /* the metric's unit is % */
	struct slice host;
	struct batch_series series; /* a MIG instance's gpu is gpu_id.GPU_I_ID */
	struct attribution attribution;
};

/* A key comes in up to three pieces, as a row's bytes lie around time and value. */
struct series_key {
	struct slice piece[3];
};

struct series_table;

struct series_table *series_table_new(uint32_t max_entries, size_t max_bytes);
void series_table_free(struct series_table *t); /* NULL is fine */
void series_forget(struct series_table *t);
uint32_t series_count(const struct series_table *t); /* ids are below it */

/* NULL: not known yet. Refs hold until series_forget. */
const struct series_ref *series_find(struct series_table *t, const struct series_key *key);

/* The key of the series that comes next if it is the one that followed the last one the last time.
 * False: none is expected, or its key is not to be compared byte by byte. */
bool series_expected(const struct series_table *t, struct series_key *ret);
/* It did come. */
const struct series_ref *series_came(struct series_table *t);

/* Validates fields (unescaped text, borrowed; absent ones empty) and adds them under a key that is
 * not known yet. device, uuid, model, container, pod and namespace come from their label where
 * their field is empty; labels that are held elsewhere are left out of series.labels. -EINVAL: a
 * bad field, said in e and *ret_field. -ENOBUFS: see above. -ENOMEM */
int series_add(struct series_table *t, const struct series_key *key,
	       const struct slice fields[FIELD_COUNT], const struct series_ref **ret,
	       enum series_field *ret_field, struct err *e) must_check;

#endif
