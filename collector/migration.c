#include "migration.h"

#include "clock.h"
#include "record.h"

/* ---- reading --------------------------------------------------------------------------------- */

/* A payload while it is read. */
struct reading {
	struct migration *g;
	const struct migration_faults *to;
	size_t record, faults;
	struct err first;
};

static void note_fault(const char *text, void *arg)
{
	struct reading *x = arg;
	struct err e;

	err_set(&e, 0, "record %zu: %s", x->record, text);
	if (!x->faults++)
		x->first = e;
	if (x->to)
		x->to->fn(e.text, x->to->arg);
}

static int read_record(struct reading *x, const struct json *record, enum record_form form,
		       struct err *e)
{
	struct migration *g = x->g;
	struct record_rows rows;
	int r = record_parse(g->parser, record, form, &rows, NULL, e);

	for (size_t i = 0; i < rows.n && !r; i++)
		window_add(&g->window, &rows.samples[i], rows.samples[i].time, 0, 0);
	g->no_value += r ? 0 : rows.no_value;
	return r == -EINVAL ? 0 : r;
}

static int read_records(struct reading *x, const struct json *doc, enum record_form form,
			struct err *e)
{
	char got[JSON_EXCERPT_MAX];
	int r = 0;

	if (!json_is_array(doc))
		return err_set(e, -EBADMSG, "payload: expected an array of records, got %s",
			       json_excerpt(doc, got));
	x->g->records = json_count(doc);
	for (x->record = 0; x->record < x->g->records && !r; x->record++)
		r = read_record(x, json_at(doc, x->record), form, e);
	if (r)
		return err_set(e, -EBADMSG, "payload: too many series");
	if (x->faults > 1)
		return err_set(e, -EBADMSG, "%s; %zu faults in all", x->first.text, x->faults);
	return x->faults ? err_set(e, -EBADMSG, "%s", x->first.text) : 0;
}

static int check_payload(const struct message *m, struct slice payload, struct err *e)
{
	uint8_t sha[SHA256_LEN];

	if (m->bytes && (size_t)m->bytes != payload.len)
		return err_set(e, -EBADMSG, "bytes: the payload has %zu, the pointer says %lld",
			       payload.len, (long long)m->bytes);
	sha256(payload.p, payload.len, sha);
	if (!m->no_sha256 && memcmp(sha, m->sha256, sizeof(sha)))
		return err_set(e, -EBADMSG, "payload: SHA-256 mismatch");
	return 0;
}

static int check_rows(const struct migration *g, const struct message *m, struct err *e)
{
	size_t rows = (size_t)m->rows, values = g->window.n + g->no_value;

	if (!rows || rows == g->records || rows == g->window.n || rows == values)
		return 0;
	return err_set(e, -EBADMSG, "rows: the payload has %zu records, the pointer says %zu",
		       g->records, rows);
}

int migration_open(struct migration *ret, const struct message *m, struct slice payload,
		   int64_t segment_ns, const struct migration_faults *faults, struct err *e)
{
	struct reading x = {.g = ret, .to = faults};
	struct record_conf conf = {.host = slice_str(m->host), .fault = note_fault, .arg = &x};
	struct json *doc;
	int r = payload.len ? check_payload(m, payload, e)
			    : err_set(e, -EBADMSG, "its payload is missing");

	if (r)
		return r;
	r = json_parse(payload.p, payload.len, &doc, e);
	if (r)
		return err_prefix(e, r, "payload");
	ret->parser = record_parser_new(&conf);
	window_init(&ret->window);
	window_begin(&ret->window, 0, 1);
	r = read_records(&x, doc,
			 strcmp(m->schema, MESSAGE_SCHEMA_WIDE) ? RECORD_LONG : RECORD_WIDE, e);
	json_free(doc);
	if (!r)
		r = ret->window.text.err ? err_set(e, -EBADMSG, "payload: too large")
					 : check_rows(ret, m, e);
	if (!r && ret->window.n)
		window_group(&ret->window, BATCH_ROWS_MAX, segment_ns, &ret->groups);
	if (!r && (size_t)m->part > ret->groups.n)
		r = err_set(e, -EBADMSG, "part: expected at most %zu, got %lld", ret->groups.n,
			    (long long)m->part);
	return r;
}

void migration_release(struct migration *g)
{
	grouping_release(&g->groups);
	window_release(&g->window);
	record_parser_free(g->parser);
	*g = (struct migration){0};
}

/* ---- what it becomes ------------------------------------------------------------------------- */

bool migration_is_older(const char *schema)
{
	return !strcmp(schema, MESSAGE_SCHEMA_WIDE) || !strcmp(schema, MESSAGE_SCHEMA_LONG);
}

bool migration_is_plain(const struct migration *g, const struct message *m)
{
	return g->groups.n == 1 && slice_eq(g->groups.groups[0].first->host, slice_str(m->host));
}

int migration_outgoing(struct migration *g, size_t i, const struct message *m, struct outgoing *ret,
		       struct err *e)
{
	struct slice host = g->groups.groups[i].first->host;

	*ret = (struct outgoing){.m = {.topic = xstrdup(m->topic),
				       .host = xstrndup(host.p, host.len),
				       .source = xstrdup(""),
				       .schema = xstrdup(MESSAGE_SCHEMA),
				       .trace_id = xstrdup(m->trace_id),
				       .rows = g->groups.groups[i].n,
				       .created_ns = m->created_ns ? m->created_ns : wall_now_ns(),
				       .expires_ns = m->expires_ns}};
	ulid_new(ret->m.ulid);
	strbuf_init(&ret->payload, BATCH_PAYLOAD_MAX);
	window_encode(&g->window, &g->groups, i, &ret->payload);
	if (ret->payload.err)
		return err_set(e, -EMSGSIZE, "%u rows take more than %d bytes",
			       g->groups.groups[i].n, BATCH_PAYLOAD_MAX);
	ret->m.bytes = (int64_t)ret->payload.len;
	sha256(ret->payload.s, ret->payload.len, ret->m.sha256);
	return 0;
}

void migration_outgoing_release(struct outgoing *o)
{
	message_release(&o->m);
	strbuf_release(&o->payload);
}
