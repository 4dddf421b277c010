/* How rows look as text, in one place: CSV of row files and latest.csv, the REST row as JSON, the
 * Prometheus exposition, `stat` lines. The CSV of row files is frozen with the chunk format's
 * version (chunk.h: csv_bytes); everything else may gain columns only with the contract.
 *
 * Strings are rendered as stored; a field is quoted only where RFC 4180 must (comma, quote, CR,
 * LF). */
#ifndef GPUTEL_RENDER_H
#define GPUTEL_RENDER_H

#include "batch.h"
#include "identity.h"
#include "stamp.h"

#define ROW_FILE_HEADER "timestamp,metric_name,value,uuid,container,pod,namespace,labels\n"
#define LATEST_HEADER_WIDE                                                                         \
	"hostname,gpu_id,timestamp,metric_name,value,uuid,container,pod,namespace,labels\n"

void render_csv_field(struct strbuf *out, struct slice s);

/* One line of a row file. labels: of the series (identity.h). */
void render_row(struct strbuf *out, struct stamp time, struct slice value, const struct series *s,
		const struct attribution *a);
/* Its length in bytes. */
size_t render_row_len(struct stamp time, struct slice value, size_t names_len);
/* Of all but time and value, which is the same in many rows. */
size_t render_names_len(const struct series *s, const struct attribution *a);

/* A row as in REST: {"timestamp":…,"hostname":…,"gpu_id":…,"uuid":…,"metric_name":…,"value":…,
 * "container":…,"pod":…,"namespace":…} and "labels":{…} where the series has some. value is the
 * stored text where RFC 8259 has such a number, else a string. */
void render_row_json(struct strbuf *out, const struct identity *id, struct stamp time,
		     struct slice value, const struct series *s, const struct attribution *a);
void render_value_json(struct strbuf *out, struct slice value);

/* What rows of one series and attribution have in common, for whoever renders many of them:
 *	render_row       time, middle, value as render_csv_field has it, tail
 *	render_row_json  ROW_JSON_HEAD, time, middle, value as render_value_json has it, tail */
#define ROW_JSON_HEAD "{\"timestamp\":\""
void render_row_middle(struct strbuf *out, const struct series *s);
void render_row_tail(struct strbuf *out, const struct series *s, const struct attribution *a);
void render_row_json_middle(struct strbuf *out, const struct identity *id, const struct series *s,
			    const struct attribution *a);
void render_row_json_tail(struct strbuf *out, const struct series *s, const struct attribution *a);

/* Canonical labels as a JSON object. */
void render_labels_json(struct strbuf *out, const char *labels);

/* One sample of the exposition format, dcgm-exporter's label names, with its time in ms. */
void render_prom(struct strbuf *out, const struct identity *id, struct stamp time,
		 struct slice value, const struct series *s, const struct attribution *a);

/* A metric's name as the exposition format allows it, and its TYPE line. */
void render_prom_name(struct strbuf *out, const char *metric);
void render_prom_type(struct strbuf *out, const char *metric);

#endif
