#include "merge.h"

#include "join.h"
#include "log.h"

enum {
	COMPARES = 98, /* of parts; two more are the session's and the writer's */
	OPS = 118,
	BYTES = 256 * 1024,
	LEARN = 16,      /* segments read in one step */
	OVER_MS = 5000,  /* past its end, for rows that are under way */
	AGAIN_MS = 5000, /* after something else changed a part */
};

/* One run of parts, to be one chunk. */
struct job {
	struct gpu_state *gpu;
	int64_t start_ns;
	struct run run;
	size_t first_get; /* among the answers of the reading */
	struct lease lease;
	struct joined joined;
	struct part part; /* as it will be */
};

struct merge {
	struct writer *w;
	struct etcd *c;
	const struct fence *f;
	const struct hold *h;
	struct job *jobs;
	size_t n, cap;
	size_t parts, ops, bytes; /* of the transaction to be */
	struct etcd_reply read;
};

/* ---- when ------------------------------------------------------------------------------------ */

static int64_t quiet_ms(const struct gpu_state *g)
{
	return MIN(MAX(4 * g->pace_ms, MERGE_QUIET_MS), MERGE_QUIET_MAX_MS);
}

static int64_t over_in_ms(const struct writer *w, const struct segment_state *s)
{
	int64_t now = wall_now_ns(), end_ns;

	if (__builtin_add_overflow(s->start_ns, w->segment_ns + OVER_MS * NS_PER_MS, &end_ns))
		end_ns = INT64_MAX;
	return end_ns > now ? (end_ns - now) / NS_PER_MS + 1 : 0;
}

static enum stage stage_of(const struct writer *w, const struct gpu_state *g,
			   const struct segment_state *s)
{
	if (!over_in_ms(w, s) && mono_ms_since(s->touched) >= quiet_ms(g))
		return STAGE_OVER;
	return mono_ms_since(g->touched) >= quiet_ms(g) ? STAGE_IDLE : STAGE_OPEN;
}

/* Nothing is to be joined now: when the stage may be another one. */
static void put_off(const struct writer *w, const struct gpu_state *g, struct segment_state *s,
		    enum stage stage)
{
	int64_t quiet = quiet_ms(g) - mono_ms_since(s->touched), over = over_in_ms(w, s);

	if (stage == STAGE_OVER) {
		s->merge_at.ns = 0;
		parts_release(&s->parts);
		return;
	}
	if (stage == STAGE_OPEN && quiet <= 0)
		quiet = quiet_ms(g) - mono_ms_since(g->touched);
	s->merge_at = mono_in_ms(MAX(stage == STAGE_OPEN ? quiet : MAX(over, quiet), 1));
}

struct mono merge_due(const struct writer *w)
{
	struct mono due = {INT64_MAX};

	map_each (&w->gpus, i) {
		const struct gpu_state *g = w->gpus.entries[i].value;

		for (size_t k = 0; k < g->n_segments; k++)
			if (g->segments[k].merge_at.ns)
				due.ns = MIN(due.ns, g->segments[k].merge_at.ns);
	}
	return due;
}

static bool is_due(const struct segment_state *s, struct mono now)
{
	return s->merge_at.ns && s->merge_at.ns <= now.ns;
}

/* ---- what ------------------------------------------------------------------------------------ */

static int learn(struct merge *m, struct mono now, struct err *e)
{
	struct segment_ref refs[LEARN];
	size_t n = 0;

	map_each (&m->w->gpus, i) {
		struct gpu_state *g = m->w->gpus.entries[i].value;

		for (size_t k = 0; k < g->n_segments && n < LEARN; k++)
			if (is_due(&g->segments[k], now) && !g->segments[k].parts.complete)
				refs[n++] = (struct segment_ref){g, g->segments[k].start_ns};
	}
	return writer_know(m->w, m->c, m->f, m->h, refs, n, true, e);
}

/* Every part is a compare, a delete or two, and a get or two. */
static bool take_job(struct merge *m, struct gpu_state *g, const struct segment_state *s,
		     const struct run *run)
{
	size_t ops = run->n + 2, bytes = 0;

	for (size_t i = run->from; i < run->from + run->n; i++) {
		ops += s->parts.list[i].has_body;
		bytes += s->parts.list[i].bytes;
	}
	if (m->parts + run->n > COMPARES || m->ops + ops > OPS ||
	    (m->n && m->bytes + bytes > BYTES))
		return false;
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 8;
		m->jobs = xrealloc(m->jobs, m->cap * sizeof(*m->jobs));
	}
	m->jobs[m->n++] = (struct job){.gpu = g, .start_ns = s->start_ns, .run = *run};
	m->parts += run->n;
	m->ops += ops;
	m->bytes += bytes;
	return true;
}

static int64_t lease_until(const struct writer *w, const struct segment_state *s)
{
	return w->lease_ns ? s->stored_ns + w->lease_ns : INT64_MAX;
}

/* A lease may end a little before the segment's would: that much rows may come late. While they
 * still come it need only outlast the retention. */
static int64_t least_until(const struct writer *w, const struct segment_state *s, enum stage stage)
{
	int64_t early_ns = (stage == STAGE_OPEN ? 2 : 1) * w->segment_ns;

	return w->lease_ns ? lease_until(w, s) - early_ns : INT64_MAX;
}

/* A run that no transaction holds because its parts have bodies is tried shorter. false: the
 * transaction is full. */
static bool plan_segment(struct merge *m, struct gpu_state *g, struct segment_state *s)
{
	enum stage stage = stage_of(m->w, g, s);
	struct run run;
	size_t from = 0, max = OPS / 2 - 2, found = 0;

	while (parts_next_run(&s->parts, from, stage, least_until(m->w, s, stage), max, &run)) {
		if (!take_job(m, g, s, &run))
			return false;
		from = run.from + run.n;
		found++;
	}
	if (!found)
		put_off(m->w, g, s, stage);
	return true;
}

static void plan(struct merge *m, struct mono now)
{
	map_each (&m->w->gpus, i) {
		struct gpu_state *g = m->w->gpus.entries[i].value;

		for (size_t k = 0; k < g->n_segments; k++)
			if (is_due(&g->segments[k], now) && g->segments[k].parts.complete &&
			    !plan_segment(m, g, &g->segments[k]))
				return;
	}
}

/* ---- reading and joining --------------------------------------------------------------------- */

static struct segment_state *segment_of(const struct job *j)
{
	return gpu_segment_state(j->gpu, j->start_ns);
}

/* Asks for what is not kept here. */
static size_t get_part(struct merge *m, struct etcd_txn *t, const char *gpu,
		       const struct part *part)
{
	if (part->value)
		return 0;
	etcd_then_get(t, key_data(m->w->host, gpu, part->key_ns, part->ulid).s, NULL);
	if (part->has_body)
		etcd_then_get(t, key_body(m->w->host, gpu, part->key_ns, part->ulid).s, NULL);
	return 1 + part->has_body;
}

static int read_parts(struct merge *m, struct err *e)
{
	struct etcd_txn t;
	size_t gets = 0;
	int r = 0;

	etcd_txn_init(&t, m->c, "merge_read");
	for (size_t i = 0; i < m->n; i++) {
		struct job *j = &m->jobs[i];
		const struct part *part = &segment_of(j)->parts.list[j->run.from];

		j->first_get = gets;
		for (size_t k = 0; k < j->run.n; k++)
			gets += get_part(m, &t, j->gpu->name, &part[k]);
	}
	if (gets)
		r = etcd_txn_settle(&t, &m->read, NULL, e);
	etcd_txn_release(&t);
	return r;
}

/* What was read of the parts of a job. -ESTALE: one of them is not as it was known. -EBADMSG: one,
 * which j->joined.bad tells, has lost its body. */
static int collect(const struct merge *m, struct job *j, struct join_part *ret, struct err *e)
{
	const struct part *part = &segment_of(j)->parts.list[j->run.from];
	const struct etcd_range *range = m->read.ranges + j->first_get;

	for (size_t i = 0; i < j->run.n; i++, part++) {
		if (part->value) {
			ret[i] = (struct join_part){.value = {part->value, part->value_len},
						    .create_rev = part->rev};
			continue;
		}
		if (!range->n || range->kvs[0].mod_rev != part->rev)
			return -ESTALE;
		ret[i] = (struct join_part){.value = range->kvs[0].value,
					    .create_rev = range->kvs[0].create_rev};
		range++;
		if (!part->has_body)
			continue;
		if (!range->n) {
			j->joined.bad = i;
			return err_set(e, -EBADMSG, "its body is missing");
		}
		ret[i].body = range->kvs[0].value;
		range++;
	}
	return 0;
}

/* All jobs of a segment go together: the positions of the later ones count on the earlier. */
static bool is_void(const struct job *j)
{
	return !segment_of(j)->parts.complete;
}

/* Something else changed the parts of its segment. */
static void read_again(struct job *j)
{
	struct segment_state *s = segment_of(j);

	parts_release(&s->parts);
	s->merge_at = mono_in_ms(AGAIN_MS);
}

static bool is_about_parts(int r)
{
	return r == -EFBIG || r == -EBADMSG || r == -ENOTSUP || r == -ESTALE;
}

/* Notes which part is to blame, so that the next plan goes around it. */
static void blame(struct job *j, int r, const struct err *e)
{
	struct part *first = &segment_of(j)->parts.list[j->run.from];
	size_t bad = j->joined.bad;

	if (r == -EFBIG && j->run.n > 1) {
		first->full = true;
		return;
	}
	log_warn("%s/%s: a chunk is not joined with others: %s", j->gpu->id->host, j->gpu->id->gpu,
		 e->text);
	first[bad < j->run.n ? bad : 0].stuck = true;
}

/* What is read together is of one revision. */
static int open_run(const struct merge *m, struct job *j, struct join_part *ret, struct err *e)
{
	int r = is_void(j) ? -ESTALE : collect(m, j, ret, e);

	if (r == -ESTALE)
		read_again(j);
	else if (r)
		blame(j, r, e);
	return r;
}

/* Joins the run or, where that would be too large, the first half of it, and so on. */
static int join_run(struct job *j, const struct join_part *parts, struct err *e)
{
	int64_t old_ns = wall_now_ns() - CHUNK_COMMITS_NS;
	int r;

	while ((r = join_chunks(parts, j->run.n, j->run.seal, old_ns, &j->joined, e)) == -EFBIG &&
	       j->run.n > 3)
		j->run.n /= 2;
	if (is_about_parts(r))
		blame(j, r, e);
	return r;
}

static struct part part_of(const struct job *j)
{
	const struct segment_state *s = segment_of(j);
	const struct chunk *c = &j->joined.c;
	const struct part *first = &s->parts.list[j->run.from];
	struct part p = {.has_body = !c->has_inline_body,
			 .sealed = c->sealed,
			 .level = (uint8_t)MAX(part_level(c->n_commits), first->level),
			 .bytes = (uint32_t)(j->joined.value.len + j->joined.body.len),
			 .key_ns = c->min_ns,
			 .first_seq = c->first_seq,
			 .rows = c->rows,
			 .until_ns = j->lease.until_ns};

	ulid_new(p.ulid);
	if (j->run.n >= PARTS_RUN && p.level == first->level)
		p.level++;
	return p;
}

static void drop_job(struct merge *m, size_t i)
{
	joined_release(&m->jobs[i].joined);
	memmove(m->jobs + i, m->jobs + i + 1, (m->n - i - 1) * sizeof(*m->jobs));
	m->n--;
}

static int join_jobs(struct merge *m, struct leases *leases, struct err *e)
{
	struct join_part parts[COMPARES];
	int r = 0;

	for (size_t i = 0; i < m->n && !r;) {
		struct job *j = &m->jobs[i];

		r = open_run(m, j, parts, e);
		if (!r)
			r = join_run(j, parts, e);
		if (is_about_parts(r)) {
			drop_job(m, i);
			r = 0;
			continue;
		}
		if (!r)
			r = leases_get(leases, lease_until(m->w, segment_of(j)), 2, &j->lease, e);
		if (!r)
			j->part = part_of(j);
		i++;
	}
	for (size_t i = m->n; i-- > 0 && !r;)
		if (is_void(&m->jobs[i]))
			drop_job(m, i);
	return r;
}

/* ---- the transaction ------------------------------------------------------------------------- */

static void add_job(struct merge *m, struct etcd_txn *t, const struct job *j)
{
	const struct part *old = &segment_of(j)->parts.list[j->run.from], *p = &j->part;
	const char *host = m->w->host, *gpu = j->gpu->name;
	struct key key = key_data(host, gpu, p->key_ns, p->ulid);

	for (size_t i = 0; i < j->run.n; i++, old++) {
		struct key was = key_data(host, gpu, old->key_ns, old->ulid);

		etcd_if_mod(t, was.s, old->rev);
		etcd_then_delete(t, was.s, NULL);
		if (old->has_body)
			etcd_then_delete(t, key_body(host, gpu, old->key_ns, old->ulid).s, NULL);
	}
	etcd_then_put(t, key.s, (struct slice){j->joined.value.s, j->joined.value.len},
		      j->lease.id);
	if (p->has_body)
		etcd_then_put(t, key_body(host, gpu, p->key_ns, p->ulid).s,
			      (struct slice){j->joined.body.s, j->joined.body.len}, j->lease.id);
	etcd_else_get(t, key.s, NULL);
}

static bool seals(const struct merge *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->jobs[i].run.seal)
			return true;
	return false;
}

/* *ret_rev: of the commit. -EAGAIN: a part is not as it was read. */
static int commit(struct merge *m, int64_t *ret_rev, struct err *e)
{
	const struct etcd_range *mine;
	struct etcd_reply reply;
	struct etcd_txn t;
	int r;

	etcd_txn_init(&t, m->c, seals(m) ? "seal" : "merge");
	etcd_if_create(&t, key_consumer(m->f->consumer).s, m->f->session);
	etcd_if_mod(&t, key_writer(m->h->host).s, m->h->rev);
	etcd_else_get(&t, key_consumer(m->f->consumer).s, NULL);
	etcd_else_get(&t, key_writer(m->h->host).s, NULL);
	for (size_t i = 0; i < m->n; i++)
		add_job(m, &t, &m->jobs[i]);
	r = etcd_txn_settle(&t, &reply, NULL, e);
	etcd_txn_release(&t);
	if (r)
		return r;
	mine = reply.succeeded ? NULL : &reply.ranges[2];
	if (reply.succeeded)
		*ret_rev = reply.revision;
	else if (mine->n)
		*ret_rev = mine->kvs[0].mod_rev; /* an earlier try of ours */
	else
		r = writer_why_refused(&reply, m->f, m->h, e);
	etcd_reply_release(&reply);
	return r;
}

/* From the last to the first, so that positions in the lists hold. */
static void settle(struct merge *m, int64_t rev, size_t *ret_parts)
{
	for (size_t i = m->n; i-- > 0;) {
		struct job *j = &m->jobs[i];
		struct segment_state *s = segment_of(j);

		for (size_t k = 0; k < j->run.n; k++)
			s->bytes -= part_cost(&s->parts.list[j->run.from + k]);
		s->bytes += part_cost(&j->part);
		j->part.rev = rev;
		parts_replace(&s->parts, &j->run, &j->part);
		*ret_parts += j->run.n;
	}
}

static void undo(struct merge *m)
{
	for (size_t i = 0; i < m->n; i++)
		read_again(&m->jobs[i]);
}

static int merge_known(struct merge *m, struct mono now, struct leases *leases, size_t *ret_parts,
		       struct err *e)
{
	int64_t rev = 0;
	int r = 0;

	plan(m, now);
	if (m->n)
		r = read_parts(m, e);
	if (!r && m->n)
		r = join_jobs(m, leases, e);
	if (!r && m->n)
		r = commit(m, &rev, e);
	if (!r && rev)
		settle(m, rev, ret_parts);
	else if (r == -EAGAIN)
		undo(m);
	return r == -EAGAIN ? 0 : r;
}

int merge_step(struct writer *w, struct etcd *c, const struct fence *f, const struct hold *h,
	       struct leases *leases, size_t *ret_parts, struct err *e)
{
	struct merge m = {.w = w, .c = c, .f = f, .h = h};
	struct mono now = mono_now();
	struct err why;
	int learned = learn(&m, now, &why), r = 0;

	*ret_parts = 0;
	if (!learned || learned == -EUCLEAN)
		r = merge_known(&m, now, leases, ret_parts, e);
	for (size_t i = 0; i < m.n; i++)
		joined_release(&m.jobs[i].joined);
	free(m.jobs);
	etcd_reply_release(&m.read);
	return r || !learned ? r : err_set(e, learned, "%s", why.text);
}
