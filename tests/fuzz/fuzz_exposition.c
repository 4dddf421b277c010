/* The exposition reader on any bytes, in both formats; what it checks beside memory: what it gives
 * lies in the text, in order, and a sample's line alone gives the same sample again.
 *	clang -fsanitize=fuzzer,address -DFUZZ …    or as it is: fuzz_exposition FILE… */
#include "exposition.h"

#include <stdio.h>

#include "labels.h"
#include "reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static bool lies_in(struct slice inner, struct slice outer)
{
	return !inner.len || (inner.p >= outer.p && inner.p + inner.len <= outer.p + outer.len);
}

/* From its name to behind its line end, which is there. */
static void read_again(const struct exposition_sample *want, struct slice text,
		       enum exposition_format format)
{
	const char *end = text.p + text.len, *newline;
	struct exposition_sample s;
	struct exposition x;

	newline = memchr(want->series.p, '\n', (size_t)(end - want->series.p));
	require(newline);
	exposition_init(&x, (struct slice){want->series.p, (size_t)(newline + 1 - want->series.p)},
			format);
	require(exposition_next(&x, &s, NULL) == EXPOSITION_SAMPLE);
	require(slice_eq(s.series, want->series) && slice_eq(s.value, want->value) &&
		s.has_time == want->has_time && s.time.ns == want->time.ns);
	require(exposition_next(&x, &s, NULL) == EXPOSITION_END);
}

static void read_all(struct slice text, enum exposition_format format)
{
	struct exposition_sample s;
	struct label labels[LABELS_MAX];
	struct exposition x;
	const char *behind = text.p;
	int event;

	exposition_init(&x, text, format);
	while ((event = exposition_next(&x, &s, NULL)) != EXPOSITION_END) {
		if (event != EXPOSITION_SAMPLE)
			continue;
		require(s.name.len && s.value.len && lies_in(s.series, text) &&
			lies_in(s.name, s.series) && lies_in(s.labels, s.series) &&
			lies_in(s.value, text) && s.series.p >= behind);
		behind = s.value.p + s.value.len;
		read_again(&s, text, format);
		(void)value_classify(s.value, true);
		if (labels_split(s.labels, labels, NULL) > 0)
			require(lies_in(labels[0].name, s.labels));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct slice text = {(const char *)p, n};

	if (!n)
		return 0;
	read_all(text, EXPOSITION_PROMETHEUS);
	read_all(text, EXPOSITION_OPENMETRICS);
	return 0;
}

#ifndef FUZZ
static void run_file(const char *path)
{
	static uint8_t bytes[1 << 22];
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(1);
	}
	LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof(bytes), f));
	fclose(f);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	return 0;
}
#endif
