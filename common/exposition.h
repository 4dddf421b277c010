/* What exporters show, line by line: the text format of Prometheus 0.0.4, and OpenMetrics 1.0.
 *
 *	struct exposition x;
 *	exposition_init(&x, body, exposition_format_of(content_type));
 *	while ((event = exposition_next(&x, &sample, &e)) != EXPOSITION_END)
 *		if (event == EXPOSITION_SAMPLE) ...
 *		else ... // e: "line 17: expected a value"
 *	if (!x.complete) ... // it was cut on its way
 *
 * A line of a sample is
 *	name ["{" label {"," label} [","] "}"] value [timestamp] [" # " exemplar]
 * where only OpenMetrics has exemplars. Comments, TYPE, HELP and UNIT are passed over: a sample is
 * taken by its name and labels alone. An invalid line costs itself, and the reader goes on behind
 * its end. Every line has an end: the last one without is invalid, because the number in it may
 * have lost digits. OpenMetrics is complete with its "# EOF"; the other one always, as it cannot
 * tell.
 *
 * Everything borrows from the text; nothing is allocated. Not thread-safe. */
#ifndef GPUTEL_EXPOSITION_H
#define GPUTEL_EXPOSITION_H

#include "stamp.h"

#define EXPOSITION_LINE_MAX (64 * 1024)

enum exposition_format { EXPOSITION_PROMETHEUS, EXPOSITION_OPENMETRICS };

struct exposition {
	struct slice left;
	enum exposition_format format;
	int64_t line; /* of the last event, from 1 */
	bool complete;
};

struct exposition_sample {
	struct slice series; /* name and labels, as they stand in the text */
	struct slice name;
	struct slice labels; /* between the braces, not looked at (labels.h) */
	struct slice value;  /* any text without blanks */
	bool has_time;
	struct stamp time;
};

enum exposition_event { EXPOSITION_END, EXPOSITION_SAMPLE, EXPOSITION_INVALID };

/* By the Content-Type of an answer; what is not OpenMetrics is the other. */
enum exposition_format exposition_format_of(struct slice content_type);

void exposition_init(struct exposition *x, struct slice text, enum exposition_format format);
enum exposition_event exposition_next(struct exposition *x, struct exposition_sample *ret,
				      struct err *e) must_check;

#endif
