#include "push.h"

#include <stdio.h>

#include "keys.h"

#define FAULTS_BYTES (32 << 10)

void push_restart(struct push *p)
{
	p->rows = p->no_value = p->invalid = p->forbidden = p->skipped = 0;
	p->n_faults = 0;
	strbuf_release(&p->faults);
	strbuf_init(&p->faults, FAULTS_BYTES);
}

int64_t push_good(const struct push *p)
{
	return p->rows - p->no_value - p->invalid;
}

void push_no_value(struct push *p)
{
	p->rows++;
	p->no_value++;
}

void push_fault(struct push *p, int64_t line, int64_t column, const char *reason)
{
	p->rows++;
	p->invalid++;
	if (p->n_faults == PUSH_FAULTS_MAX)
		return;
	strbuf_addf(&p->faults,
		    "%s{\"line\":%lld,\"column\":%lld,\"reason\":", p->n_faults++ ? "," : "",
		    (long long)line, (long long)column);
	strbuf_add_json(&p->faults, reason, strlen(reason));
	strbuf_addc(&p->faults, '}');
}

static bool is_allowed(const struct push *p, struct slice host)
{
	char name[NAME_MAX_ENCODED + 1];

	return principal_may_write_all(p->who) ||
	       (name_encode_to(name, host) >= 0 && principal_may_write(p->who, name));
}

void push_row(struct push *p, struct window *w, const struct sample *s, int64_t line,
	      int64_t column)
{
	char reason[320];

	if (is_allowed(p, s->series->host)) {
		p->rows++;
		window_add(w, s, s->time, w->end, w->end_line);
		return;
	}
	snprintf(reason, sizeof(reason), "this token may not write rows of host %.*s",
		 (int)MIN(s->series->host.len, 255), s->series->host.p);
	push_fault(p, line, column, reason);
	p->forbidden++;
}

void push_render(const struct push *p, struct strbuf *out)
{
	strbuf_addf(out,
		    "\"rows\":%lld,\"published\":%lld,\"duplicate\":%lld,\"no_value\":%lld"
		    ",\"invalid\":%lld,\"skipped\":%lld,\"messages\":%lld,\"errors\":[",
		    (long long)p->rows, (long long)p->published, (long long)p->duplicate,
		    (long long)p->no_value, (long long)p->invalid, (long long)p->skipped,
		    (long long)p->messages);
	strbuf_add(out, p->faults.s, p->faults.len);
	strbuf_addc(out, ']');
}
