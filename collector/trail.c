#include "trail.h"

#include "log.h"

#define TRACE_SHOWN 64 /* that of a foreign message is any text */

static const char *trace_of(const struct message *m)
{
	return *m->trace_id ? m->trace_id : "-";
}

void trail_claimed(const struct claim *claims, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct message *m = &claims[i].m;

		if (claims[i].rev)
			log_debug("trace %.*s: message %s of host %s claimed: %lld rows, attempt "
				  "%lld",
				  TRACE_SHOWN, trace_of(m), m->ulid, m->host, (long long)m->rows,
				  (long long)m->attempt);
	}
}

void trail_ended(const struct ending *d, int64_t revision)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct message *m = &d->claims[i]->m;

		log_debug("trace %.*s: message %s of host %s %s at revision %lld: %lld rows",
			  TRACE_SHOWN, trace_of(m), m->ulid, m->host, d->claims[i]->outcome,
			  (long long)revision, (long long)m->rows);
	}
}
