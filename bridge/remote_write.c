#include "remote_write.h"

#include "labels.h"

enum { REQUEST_SERIES = 1 };
enum { SERIES_LABEL = 1, SERIES_SAMPLE = 2, SERIES_HISTOGRAM = 4 };
enum { LABEL_NAME = 1, LABEL_VALUE = 2 };
enum { SAMPLE_VALUE = 1, SAMPLE_TIME = 2 };

void remote_write_init(struct remote_write *w, struct slice body)
{
	*w = (struct remote_write){.left = proto_reader(body)};
	strbuf_init(&w->labels, LABELS_BYTES);
}

void remote_write_release(struct remote_write *w)
{
	strbuf_release(&w->labels);
}

static int malformed(struct err *e, const char *what)
{
	return err_set(e, -EBADMSG, "malformed %s", what);
}

/* ---- labels ---------------------------------------------------------------------------------- */

static void add_escaped(struct strbuf *out, struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '\\' || s.p[i] == '"')
			strbuf_addc(out, '\\');
		if (s.p[i] == '\n')
			strbuf_adds(out, "\\n");
		else
			strbuf_addc(out, s.p[i]);
	}
}

static void add_label(struct remote_write *w, struct remote_series *s, struct slice name,
		      struct slice value)
{
	if (memchr(name.p, '\0', name.len) || memchr(value.p, '\0', value.len)) {
		s->fault = "a NUL in a label";
	} else if (slice_eq(name, SLICE_LIT("__name__"))) {
		s->name = value;
	} else {
		strbuf_adds(&w->labels, w->labels.len ? "," : "");
		strbuf_add_slice(&w->labels, name);
		strbuf_adds(&w->labels, "=\"");
		add_escaped(&w->labels, value);
		strbuf_addc(&w->labels, '"');
	}
}

static int take_label(struct remote_write *w, struct remote_series *s, struct slice message,
		      struct err *e)
{
	struct reader r = proto_reader(message);
	struct slice name = SLICE_LIT(""), value = SLICE_LIT("");
	struct proto_field f;

	while (proto_next(&r, &f)) {
		if (f.number == LABEL_NAME)
			name = f.bytes;
		else if (f.number == LABEL_VALUE)
			value = f.bytes;
	}
	if (r.err)
		return malformed(e, "label");
	add_label(w, s, name, value);
	return 0;
}

/* ---- series ---------------------------------------------------------------------------------- */

static int take_series(struct remote_write *w, struct slice message, bool skip,
		       struct remote_series *ret, struct err *e)
{
	struct reader r = proto_reader(message);
	struct proto_field f;
	int error = 0;

	*ret = (struct remote_series){
		.name = SLICE_LIT(""), .labels = SLICE_LIT(""), .left = proto_reader(message)};
	strbuf_reset(&w->labels);
	while (!error && proto_next(&r, &f)) {
		ret->samples += f.number == SERIES_SAMPLE;
		ret->histograms += f.number == SERIES_HISTOGRAM;
		if (f.number == SERIES_LABEL && !skip)
			error = take_label(w, ret, f.bytes, e);
	}
	if (r.err)
		return malformed(e, "time series");
	if (w->labels.err)
		ret->fault = "the labels are too long";
	else if (w->labels.len)
		ret->labels = (struct slice){w->labels.s, w->labels.len};
	return error ? error : 1;
}

int remote_write_next(struct remote_write *w, bool (*may_skip)(struct slice message),
		      struct remote_series *ret, struct err *e)
{
	struct proto_field f;

	while (proto_next(&w->left, &f))
		if (f.number == REQUEST_SERIES)
			return take_series(w, f.bytes, may_skip(f.bytes), ret, e);
	return w->left.err ? malformed(e, "write request") : 0;
}

static int take_sample(struct slice message, struct remote_sample *ret, struct err *e)
{
	struct reader r = proto_reader(message);
	struct remote_sample s = {0};
	struct proto_field f;

	while (proto_next(&r, &f)) {
		if (f.number == SAMPLE_VALUE)
			memcpy(&s.value, &f.value, sizeof(s.value));
		else if (f.number == SAMPLE_TIME)
			s.ms = (int64_t)f.value;
	}
	if (r.err)
		return malformed(e, "sample");
	*ret = s;
	return 1;
}

int remote_series_next(struct remote_series *s, struct remote_sample *ret, struct err *e)
{
	struct proto_field f;

	while (proto_next(&s->left, &f))
		if (f.number == SERIES_SAMPLE)
			return take_sample(f.bytes, ret, e);
	return s->left.err ? malformed(e, "time series") : 0;
}
