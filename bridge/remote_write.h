/* The body of a Prometheus remote-write request, version 1.0 of the protocol, unpacked:
 *	WriteRequest { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3; }
 *	TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2;
 *	               repeated Exemplar exemplars = 3; repeated Histogram histograms = 4; }
 *	Label        { string name = 1; string value = 2; }
 *	Sample       { double value = 1; int64 timestamp = 2; }       timestamp: ms since 1970
 * https://prometheus.io/docs/specs/prw/remote_write_spec/
 *
 *	remote_write_init(&w, body);
 *	while ((r = remote_write_next(&w, &series, &e)) > 0)
 *		while ((r = remote_series_next(&series, &sample, &e)) > 0)
 *			...
 *	remote_write_release(&w);
 *
 * Metadata and exemplars are passed over; histograms are counted. Not thread-safe. */
#ifndef GPUTEL_BRIDGE_REMOTE_WRITE_H
#define GPUTEL_BRIDGE_REMOTE_WRITE_H

#include "proto.h"

struct remote_write {
	struct reader left;
	struct strbuf labels; /* of the series under way */
};

struct remote_series {
	struct slice name;   /* __name__; empty: there is none */
	struct slice labels; /* the others, as text (labels.h); until the next series */
	/* What is wrong with them (too long, a NUL); NULL: nothing. */
	const char *fault;
	struct reader left;
	int64_t samples, histograms; /* there are */
};

struct remote_sample {
	double value;
	int64_t ms;
};

void remote_write_init(struct remote_write *w, struct slice body);
void remote_write_release(struct remote_write *w);

/* 1; 0 at the end; -EBADMSG: malformed. may_skip is asked with the series' bytes first; where it
 * says true, only samples and histograms are counted: name and labels are empty. */
int remote_write_next(struct remote_write *w, bool (*may_skip)(struct slice message),
		      struct remote_series *ret, struct err *e) must_check;
/* Likewise. */
int remote_series_next(struct remote_series *s, struct remote_sample *ret,
		       struct err *e) must_check;

#endif
