#include "parts.h"

enum { LARGE = 8192 }; /* bytes of a part that are not copied for nothing */

void parts_add(struct parts *p, const struct part *part)
{
	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 8;
		p->list = xrealloc(p->list, p->cap * sizeof(*p->list));
	}
	p->list[p->n++] = *part;
}

void parts_replace(struct parts *p, const struct run *r, const struct part *part)
{
	for (size_t i = r->from; i < r->from + r->n; i++)
		free(p->list[i].value);
	p->list[r->from] = *part;
	memmove(p->list + r->from + 1, p->list + r->from + r->n,
		(p->n - r->from - r->n) * sizeof(*p->list));
	p->n -= r->n - 1;
}

void parts_release(struct parts *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->list[i].value);
	free(p->list);
	*p = (struct parts){0};
}

uint8_t part_level(uint32_t n_commits)
{
	uint8_t level = 0;

	for (; n_commits >= PARTS_RUN; n_commits /= PARTS_RUN)
		level++;
	return level;
}

/* ---- which to join --------------------------------------------------------------------------- */

static bool is_full(const struct part *p)
{
	return p->full || p->bytes >= PARTS_FULL;
}

/* How far a run from `from` may reach. A full part is one by itself. */
static size_t reach(const struct parts *p, size_t from, size_t max, bool one_level)
{
	size_t n = 0, bytes = 0;
	int64_t rows = 0;

	while (from + n < p->n && n < max) {
		const struct part *part = &p->list[from + n];

		bytes += part->bytes;
		rows += part->rows;
		if (part->stuck || !part->rev || (one_level && part->level != p->list[from].level))
			break;
		if (n && part[-1].first_seq + part[-1].rows != part->first_seq)
			break; /* one between them is lost */
		if (n && (bytes > CHUNK_BODY_MAX || rows > PARTS_ROWS || is_full(part) ||
			  is_full(&p->list[from])))
			break;
		n++;
	}
	return n;
}

/* That the run could not have been longer because of its size. */
static bool is_cut_by_size(const struct parts *p, size_t from, size_t n)
{
	const struct part *after = &p->list[from + n];
	size_t bytes = 0;
	int64_t rows = 0;

	if (from + n == p->n || after->stuck || !after->rev || after->level != p->list[from].level)
		return false;
	for (size_t i = from; i <= from + n; i++) {
		bytes += p->list[i].bytes;
		rows += p->list[i].rows;
	}
	return bytes > CHUNK_BODY_MAX || rows > PARTS_ROWS;
}

static bool next_of_level(const struct parts *p, size_t from, size_t max, struct run *ret)
{
	while (from < p->n) {
		size_t n = is_full(&p->list[from]) ? 0 : reach(p, from, max, true);

		if (n >= PARTS_RUN || (n > 1 && is_cut_by_size(p, from, n))) {
			*ret = (struct run){from, n, false};
			return true;
		}
		from += n ? n : 1;
	}
	return false;
}

/* A full one is not written again to be sealed: that saved some three bytes of a hundred. */
static bool wants_work(const struct part *part, enum stage stage, int64_t until_ns)
{
	return (stage == STAGE_OVER && !part->sealed && !is_full(part)) ||
	       part->until_ns < until_ns;
}

static bool any_wants_work(const struct parts *p, size_t from, size_t n, enum stage stage,
			   int64_t until_ns)
{
	for (size_t i = from; i < from + n; i++)
		if (wants_work(&p->list[i], stage, until_ns))
			return true;
	return false;
}

/* What was sealed before and is large is not copied again for each late row, only where as much
 * comes to it. */
static size_t skip_sealed(const struct parts *p, size_t from, size_t n)
{
	size_t skip = 0, rest = 0;

	for (size_t i = from; i < from + n; i++)
		rest += p->list[i].bytes;
	while (skip < n && p->list[from + skip].sealed && p->list[from + skip].bytes >= LARGE &&
	       p->list[from + skip].bytes > 2 * (rest - p->list[from + skip].bytes))
		rest -= p->list[from + skip++].bytes;
	return skip;
}

static bool next_of_all(const struct parts *p, size_t from, enum stage stage, int64_t until_ns,
			size_t max, struct run *ret)
{
	while (from < p->n) {
		size_t n = reach(p, from, max, false), skip;
		bool work = n && any_wants_work(p, from, n, stage, until_ns);

		skip = stage == STAGE_OVER && n && p->list[from].until_ns >= until_ns
			       ? skip_sealed(p, from, n)
			       : 0;
		if (work && skip < n) {
			from += skip;
			n = reach(p, from, max, false);
			work = any_wants_work(p, from, n, stage, until_ns);
		}
		if ((stage == STAGE_IDLE && n > 1) || work) {
			*ret = (struct run){from, n, stage == STAGE_OVER};
			return true;
		}
		from += n ? n : 1;
	}
	return false;
}

/* Parts from `from` on whose leases end too early. */
static bool next_of_ending(const struct parts *p, size_t from, int64_t until_ns, size_t max,
			   struct run *ret)
{
	while (from < p->n) {
		size_t n = p->list[from].until_ns < until_ns ? reach(p, from, max, false) : 0,
		       k = 0;

		while (k < n && p->list[from + k].until_ns < until_ns)
			k++;
		if (k) {
			*ret = (struct run){from, k, false};
			return true;
		}
		from++;
	}
	return false;
}

bool parts_next_run(const struct parts *p, size_t from, enum stage stage, int64_t until_ns,
		    size_t max, struct run *ret)
{
	if (stage == STAGE_OPEN)
		return next_of_level(p, from, max, ret) ||
		       next_of_ending(p, from, until_ns, max, ret);
	return next_of_all(p, from, stage, until_ns, max, ret);
}
