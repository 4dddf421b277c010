#include "../lib/hostile.h"
#include "../lib/test.h"
#include "identity.h"

#include <stdio.h>

static void set(char **field, struct slice s)
{
	free(*field);
	*field = xstrndup(s.p, s.len);
}

static struct identity *random_identity(struct rng *g)
{
	struct identity *id =
		identity_new(hostile_name(g), hostile_name(g), rng_next(g), hostile_name(g));
	size_t n = rng_below(g, 60);

	set(&id->uuid, hostile_name(g));
	set(&id->device, hostile_name(g));
	set(&id->model, hostile_name(g));
	set(&id->driver, hostile_name(g));
	id->as_of_ns = (int64_t)(rng_next(g) >> 1);
	for (size_t i = 0; i < n; i++) {
		struct slice labels = rng_one_in(g, 2) ? hostile_name(g) : SLICE_LIT("");
		uint32_t at;
		int r = identity_series(id, hostile_name(g), labels, &at, NULL);

		CHECK(r == 0 || r == -ENAMETOOLONG);
	}
	return id;
}

static bool same_series(const struct series *a, const struct series *b)
{
	return !strcmp(a->metric, b->metric) && !strcmp(a->labels, b->labels) &&
	       !strcmp(a->name, b->name);
}

static bool same_identity(const struct identity *a, const struct identity *b)
{
	bool same = !strcmp(a->host, b->host) && !strcmp(a->gpu, b->gpu) &&
		    a->incarnation == b->incarnation && !strcmp(a->uuid, b->uuid) &&
		    !strcmp(a->device, b->device) && !strcmp(a->model, b->model) &&
		    !strcmp(a->driver, b->driver) && a->as_of_ns == b->as_of_ns &&
		    !strcmp(a->labels, b->labels) && a->n_series == b->n_series;

	for (uint32_t i = 0; i < a->n_series && same; i++)
		same = same_series(&a->series[i], &b->series[i]);
	return same;
}

static struct strbuf encoded(const struct identity *id)
{
	struct strbuf out;

	strbuf_init(&out, 1 << 24);
	identity_encode(&out, id);
	CHECK_EQ_INT(out.err, 0);
	return out;
}

static int decode(struct slice json, struct err *e)
{
	struct identity *id = NULL;
	int r = identity_decode(json, &id, e);

	CHECK(!r == !!id);
	identity_free(id);
	return r;
}

TEST(any_identity_comes_back)
{
	struct rng g = {1};

	for (int round = 0; round < 300; round++) {
		struct identity *id = random_identity(&g), *got = NULL;
		struct strbuf out = encoded(id);
		struct err e;

		if (CHECK_EQ_INT(identity_decode((struct slice){out.s, out.len}, &got, &e), 0))
			CHECK(same_identity(id, got));
		identity_free(got);
		identity_free(id);
		strbuf_release(&out);
	}
	identity_free(NULL);
}

TEST(a_copy_is_the_same_and_goes_its_own_way)
{
	struct rng g = {2};
	struct identity *id = random_identity(&g), *copy = identity_copy(id);
	uint32_t n = id->n_series, at;
	bool added;

	CHECK(same_identity(id, copy));
	CHECK_EQ_INT(identity_series(copy, SLICE_LIT("NEW"), SLICE_LIT(""), &at, &added), 0);
	CHECK(added);
	CHECK_EQ_INT(at, n);
	CHECK_EQ_INT(id->n_series, n);
	for (uint32_t i = 0; i < n; i++) {
		CHECK_EQ_INT(identity_series(copy, slice_str(id->series[i].metric),
					     slice_str(id->series[i].labels), &at, &added),
			     0);
		CHECK(!added && at == i);
	}
	identity_free(copy);
	identity_free(id);
}

TEST(series_are_named_by_metric_and_own_labels)
{
	struct identity *id = identity_new(SLICE_LIT("h"), SLICE_LIT("0"), 1, SLICE_LIT(""));
	uint32_t at;
	bool added;

	CHECK_EQ_INT(identity_series(id, SLICE_LIT("M"), SLICE_LIT(""), &at, &added), 0);
	CHECK(added && at == 0);
	CHECK_EQ_INT(identity_series(id, SLICE_LIT("M"), SLICE_LIT("a=\"1\""), &at, &added), 0);
	CHECK(added && at == 1);
	CHECK_EQ_INT(identity_series(id, SLICE_LIT("M"), SLICE_LIT(""), &at, &added), 0);
	CHECK(!added && at == 0);
	CHECK_EQ_STR(id->series[0].name, "M");
	CHECK_EQ_STR(id->series[1].name, "M{a=\"1\"}");
	identity_free(id);
}

TEST(a_gpu_has_no_more_than_4096_series)
{
	struct identity *id = identity_new(SLICE_LIT("h"), SLICE_LIT("0"), 1, SLICE_LIT(""));
	struct strbuf out;
	char metric[32];
	uint32_t at;
	bool added;

	for (int i = 0; i < IDENTITY_SERIES_MAX; i++) {
		snprintf(metric, sizeof(metric), "M%d", i);
		CHECK_EQ_INT(identity_series(id, slice_str(metric), SLICE_LIT(""), &at, NULL), 0);
	}
	CHECK_EQ_INT(identity_series(id, SLICE_LIT("X"), SLICE_LIT(""), &at, NULL), -ENOSPC);
	CHECK_EQ_INT(identity_series(id, SLICE_LIT("M7"), SLICE_LIT(""), &at, &added), 0);
	CHECK(!added && at == 7);
	out = encoded(id);
	CHECK_EQ_INT(decode((struct slice){out.s, out.len}, NULL), 0);
	strbuf_release(&out);
	identity_free(id);
}

TEST(a_file_name_of_over_255_bytes_is_refused)
{
	struct identity *id = identity_new(SLICE_LIT("h"), SLICE_LIT("0"), 1, SLICE_LIT(""));
	char name[300];
	uint32_t at = 99;

	memset(name, 'm', sizeof(name));
	CHECK_EQ_INT(identity_series(id, (struct slice){name, 255}, SLICE_LIT(""), &at, NULL), 0);
	CHECK_EQ_INT(identity_series(id, (struct slice){name, 256}, SLICE_LIT(""), &at, NULL),
		     -ENAMETOOLONG);
	CHECK_EQ_INT(identity_series(id, (struct slice){name, 251}, SLICE_LIT("a=\"\""), &at, NULL),
		     -ENAMETOOLONG);
	memset(name, '/', 90);
	CHECK_EQ_INT(identity_series(id, (struct slice){name, 85}, SLICE_LIT(""), &at, NULL), 0);
	CHECK_EQ_INT(identity_series(id, (struct slice){name, 86}, SLICE_LIT(""), &at, NULL),
		     -ENAMETOOLONG);
	CHECK_EQ_INT(id->n_series, 2);
	identity_free(id);
}

/* ---- refusals -------------------------------------------------------------------------------- */

#define HEAD "\"v\":1,\"hostname\":\"h\",\"gpu_id\":\"0\",\"incarnation\":\"00000000000000ff\""

static void check_refused(const char *json)
{
	struct err e = {""};

	test_check(decode(slice_str(json), &e) == -EBADMSG && !strncmp(e.text, "identity: ", 10),
		   __FILE__, __LINE__, "%s: \"%s\"", json, e.text);
}

TEST(a_damaged_identity_is_refused)
{
	CHECK_EQ_INT(decode(SLICE_LIT("{" HEAD "}"), NULL), 0);
	check_refused("");
	check_refused("7");
	check_refused("[]");
	check_refused("{" HEAD);
	check_refused("{\"v\":2,\"hostname\":\"h\",\"gpu_id\":\"0\",\"incarnation\":"
		      "\"00000000000000ff\"}");
	check_refused("{\"v\":1,\"gpu_id\":\"0\",\"incarnation\":\"00000000000000ff\"}");
	check_refused("{\"v\":1,\"hostname\":\"h\",\"incarnation\":\"00000000000000ff\"}");
	check_refused("{\"v\":1,\"hostname\":\"h\",\"gpu_id\":\"0\"}");
	check_refused("{\"v\":1,\"hostname\":\"h\",\"gpu_id\":\"0\",\"incarnation\":\"ff\"}");
	check_refused("{\"v\":1,\"hostname\":\"h\",\"gpu_id\":\"0\",\"incarnation\":"
		      "\"00000000000000fg\"}");
	check_refused("{" HEAD
		      ",\"series\":[{\"metric\":\"M\"},{\"metric\":\"M\",\"labels\":\"\"}]}");
	check_refused("{" HEAD ",\"series\":[{\"labels\":\"\"}]}");
	check_refused("{" HEAD ",\"series\":[7]}");
}

static void check_truncation(const uint8_t *p, size_t n, size_t at, void *arg)
{
	CHECK_EQ_INT(decode((struct slice){(const char *)p, n}, NULL), -EBADMSG);
}

static void check_survived(const uint8_t *p, size_t n, size_t at, void *arg)
{
	int r = decode((struct slice){(const char *)p, n}, NULL);

	CHECK(r == 0 || r == -EBADMSG);
}

TEST(damaged_bytes_of_an_identity_are_survived)
{
	struct rng g = {3};

	for (int round = 0; round < 6; round++) {
		struct identity *id = random_identity(&g);
		struct strbuf out = encoded(id);

		hostile_truncations(out.s, out.len, check_truncation, NULL);
		hostile_flips(out.s, out.len, check_survived, NULL);
		strbuf_release(&out);
		identity_free(id);
	}
	hostile_bytes(&g, 5000, 100, check_survived, NULL);
}
