/* Records of telemetry as JSON objects, in two forms, to samples: what foreign programs enqueue
 * (collector/migration.h) and post.
 *
 * Long form, a row of the REST interface; schema v1beta2 is an array of them:
 *	{"timestamp":"2025-07-18T20:42:34Z","hostname":"h1","gpu_id":"0","uuid":"GPU-…",
 *	 "metric_name":"DCGM_FI_DEV_GPU_UTIL","value":87,"container":"","pod":"","namespace":""}
 * Members that are not known are passed over.
 *
 * Wide form, all metrics of a GPU at one time; schema v1beta1 is an array of them:
 *	{"timestamp":1752871354.5,"hostname":"h1","gpu_id":0,"uuid":"GPU-…",
 *	 "DCGM_FI_DEV_GPU_UTIL":87,"power_draw":"431.20","metrics":{"DCGM_FI_DEV_GPU_TEMP":54}}
 * Every member that is no field of a row is a metric of that name, and so is every member of
 * "metrics", whatever it is called.
 *
 * Names of fields and their aliases: fields.h. Needed are timestamp, gpu_id, hostname (unless there
 * is a default) and, in the long form, metric_name and value. What they hold:
 *	timestamp    a string that stamp.h reads, or a number: epoch seconds
 *	gpu_id       a string or a whole number
 *	labels       a string as labels_raw (labels.h), or an object of strings and numbers
 *	value, metrics  a number, or a string that row.h takes for a value; the text stays as it is.
 *	             null, "", "N/A", "NaN" and DCGM's blanks are no value: counted, not a sample
 *	all others   a string; null is as if it were not there
 * A record is taken whole or not at all, and every fault in it is told:
 *	gpu_id: expected a string or a whole number, got true
 *
 * Not thread-safe. */
#ifndef GPUTEL_RECORD_H
#define GPUTEL_RECORD_H

#include "json.h"
#include "row.h"

#define RECORD_MEMBERS_MAX 1024 /* of one object */

enum record_form { RECORD_WIDE, RECORD_LONG, RECORD_ANY }; /* any: long if it names a metric */

struct record_conf {
	struct slice host; /* of records that name none; or empty. Borrowed */
	/* Told of every fault, without the record's place, which the caller knows; may be NULL. */
	void (*fault)(const char *text, void *arg);
	void *arg;
};

/* What one record says; until the next one. Values are borrowed from its document. */
struct record_rows {
	const struct sample *samples;
	size_t n, no_value;
};

struct record_parser;

struct record_parser *record_parser_new(const struct record_conf *conf);
void record_parser_free(struct record_parser *p); /* NULL is fine */

/* -EINVAL: it is invalid; e has the first fault, *ret_faults (may be NULL) how many there are.
 * -ENOBUFS: the table of series is full: let go of all refs, call record_forget, and give the same
 * record again. -ENOMEM. */
int record_parse(struct record_parser *p, const struct json *record, enum record_form form,
		 struct record_rows *ret, size_t *ret_faults, struct err *e) must_check;
void record_forget(struct record_parser *p);

#endif
