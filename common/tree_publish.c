/* What readers see of the model, and how that differs from what they saw. */
#include "tree_internal.h"

#define GAP_MS 1000 /* a gap that stands that long is worth a list */

/* ---- changes --------------------------------------------------------------------------------- */

static struct change *add(struct changes *ch, enum change_kind kind, const struct gpu *g)
{
	if (ch->n == ch->cap) {
		ch->cap = ch->cap ? 2 * ch->cap : 64;
		ch->list = xrealloc(ch->list, ch->cap * sizeof(*ch->list));
	}
	ch->list[ch->n] = (struct change){.kind = kind, .host = g->host->name, .gpu = g->name};
	return &ch->list[ch->n++];
}

static void tell_gpu(struct changes *ch, enum change_kind kind, const struct gpu *g)
{
	if (!ch->off)
		add(ch, kind, g);
}

/* The name lives in whatever struct host there is. */
static void tell_host(struct changes *ch, enum change_kind kind, const char *name)
{
	struct gpu of = {.host = &(struct host){.name = (char *)name}};

	if (!ch->off)
		add(ch, kind, &of);
}

static void tell_segment(struct changes *ch, enum change_kind kind, const struct gpu *g,
			 const struct segment *s)
{
	if (!ch->off && !ch->within_new)
		add(ch, kind, g)->segment_ns = s->start_ns;
}

static void tell_series(struct changes *ch, enum change_kind kind, const struct gpu *g, uint32_t i)
{
	if (!ch->off && !ch->within_new)
		add(ch, kind, g)->series = gpu_series_file(g, i);
}

void changes_release(struct changes *ch)
{
	while (ch->gone) {
		struct gpu *g = ch->gone;

		ch->gone = g->dirty_next;
		gpu_free(g);
	}
	while (ch->gone_hosts) {
		struct host *h = ch->gone_hosts;

		ch->gone_hosts = h->gone_next;
		host_free(h);
	}
	free(ch->list);
	*ch = (struct changes){0};
}

/* ---- segments -------------------------------------------------------------------------------- */

static void note_gap(struct model *m, struct segment *s, bool gap)
{
	if (!gap)
		s->gap_known = false;
	else if (m->listing || s->dropped)
		s->gap_known = true;
	gap = gap && !s->gap_known;
	if (gap && !s->gap_since.ns) {
		s->gap_since = mono_now();
		m->gaps++;
	} else if (!gap && s->gap_since.ns) {
		s->gap_since.ns = 0;
		m->gaps--;
	}
}

/* Adds up what of the records can be shown. */
static void add_up(struct model *m, struct segment *s)
{
	const struct chunk_rec *rec;
	int64_t seq = 0;
	uint32_t i = 0;

	s->bytes = s->rows = s->max_ns = s->stored_ns = s->revision = 0;
	s->sane = s->dated = false;
	while ((rec = segment_next(s, &i, &seq))) {
		s->bytes += rec->csv_bytes;
		s->rows += rec->rows;
		s->dated = rec->alone && rec->max_ns / NS_PER_SEC > s->max_ns / NS_PER_SEC;
		s->max_ns = MAX(s->max_ns, rec->max_ns);
		s->stored_ns = MAX(s->stored_ns, rec->stored_ns);
		s->revision = MAX(s->revision, rec->revision);
		s->sane |= rec->sane;
	}
	note_gap(m, s, i < s->n);
	s->dirty = s->dropped = false;
}

static bool can_show(const struct gpu *g, const struct segment *s)
{
	return g->ident && g->ident->id->incarnation == s->identity && s->rows > 0 &&
	       s->bytes >= s->high;
}

/* Another of the same time span has come after it. */
static bool is_superseded(const struct gpu *g, uint32_t i)
{
	const struct segment *s = g->segments[i];

	for (uint32_t j = gpu_segment_index(g, s->start_ns, 0);
	     j < g->n_segments && g->segments[j]->start_ns == s->start_ns; j++)
		if (j != i && can_show(g, g->segments[j]) &&
		    (g->segments[j]->revision > s->revision ||
		     (g->segments[j]->revision == s->revision && j > i)))
			return true;
	return false;
}

/* Removals are told first: a name may go and come in one step. */
static void hide_segments(struct gpu *g, struct changes *ch)
{
	for (uint32_t i = 0; i < g->n_segments; i++) {
		struct segment *s = g->segments[i];

		if (!s->listed || (can_show(g, s) && !is_superseded(g, i)))
			continue;
		s->listed = false;
		tell_segment(ch, CHANGE_SEGMENT_REMOVED, g, s);
	}
}

static void show_segments(struct gpu *g, struct changes *ch)
{
	for (uint32_t i = 0; i < g->n_segments; i++) {
		struct segment *s = g->segments[i];

		if (!can_show(g, s) || is_superseded(g, i))
			continue;
		if (!s->listed)
			tell_segment(ch, CHANGE_SEGMENT_ADDED, g, s);
		else if (s->bytes > s->high)
			tell_segment(ch, CHANGE_SEGMENT_GREW, g, s);
		s->listed = true;
		s->high = s->bytes;
	}
}

static bool forget_of_segment(struct gpu *g, struct latest *l, int64_t start_ns)
{
	if (!latest_is_set(l) || l->segment_ns != start_ns)
		return false;
	gpu_forget_latest(g, l);
	return true;
}

/* A segment went: what was latest because of it is not any more. Segments after it hold nothing
 * older; those before it may, as their headers tell. */
static void forget_segment(struct model *m, struct gpu *g, int64_t start_ns, bool has_older)
{
	bool lost = false;

	for (uint32_t i = 0; i < g->n_series; i++) {
		struct series_state *s = &g->series[i];
		bool sane = forget_of_segment(g, &s->sane, start_ns);
		bool ahead = forget_of_segment(g, s->ahead, start_ns);

		s->dirty |= sane || ahead;
		lost |= sane || ahead;
	}
	if (lost && has_older)
		gpu_seek_latest(m, g);
}

static void remove_empty_segments(struct model *m, struct gpu *g)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < g->n_segments; i++) {
		struct segment *s = g->segments[i];

		if (s->n) {
			g->segments[n++] = s;
			continue;
		}
		forget_segment(m, g, s->start_ns, n > 0);
		segment_free(s);
	}
	g->n_segments = n;
}

static void publish_segments(struct model *m, struct gpu *g, struct changes *ch)
{
	for (uint32_t i = 0; i < g->n_segments; i++)
		if (g->segments[i]->dirty)
			add_up(m, g->segments[i]);
	hide_segments(g, ch);
	show_segments(g, ch);
	remove_empty_segments(m, g);
}

/* ---- series ---------------------------------------------------------------------------------- */

static void tell_latest(struct changes *ch, struct gpu *g, uint32_t i)
{
	struct slice value = latest_value(gpu_latest(g, i));
	uint32_t now = (uint32_t)hash64(value.p, value.len, 0);
	bool same = g->series[i].told == now;
	size_t n = ch->n;

	g->series[i].told = now;
	tell_series(ch, g->series[i].listed ? CHANGE_LATEST : CHANGE_SERIES_ADDED, g, i);
	if (ch->n > n)
		ch->list[n].same_value = same;
}

static void publish_series(const struct model *m, struct gpu *g, struct changes *ch)
{
	uint32_t n = g->ident ? g->ident->id->n_series : 0;

	for (uint32_t i = 0; i < n; i++) {
		struct series_state *s = &g->series[i];
		bool shown = gpu_latest(g, i) != NULL;

		if (!shown && s->listed)
			tell_series(ch, CHANGE_SERIES_REMOVED, g, i);
		else if (shown && (!s->listed || s->dirty))
			tell_latest(ch, g, i);
		if (!shown && s->listed)
			g->lost_rev = m->revision;
		s->listed = shown;
		s->dirty = false;
	}
}

/* ---- GPUs ------------------------------------------------------------------------------------ */

/* Newest of the latest rows; of those ahead only where no other is. */
static int64_t last_seen(const struct gpu *g)
{
	int64_t sane = 0, ahead = 0;

	for (uint32_t i = 0; i < g->n_series; i++) {
		const struct series_state *s = &g->series[i];

		if (latest_is_set(&s->sane))
			sane = MAX(sane, s->sane.time_ns);
		if (latest_is_set(s->ahead))
			ahead = MAX(ahead, s->ahead->time_ns);
	}
	return sane ? sane : ahead;
}

static void sum_up(struct model *m, struct gpu *g)
{
	struct counts c = {0};

	g->last_ns = last_seen(g);
	g->revision = MAX(g->ident_rev, g->lost_rev);
	g->stored_ns = 0;
	for (uint32_t i = 0; i < g->n_segments; i++) {
		const struct segment *s = g->segments[i];

		g->revision = MAX(g->revision, s->revision);
		g->stored_ns = MAX(g->stored_ns, s->stored_ns);
		c.segments += s->listed;
		c.rows += s->listed ? (uint64_t)s->rows : 0;
		c.chunks += s->n;
	}
	m->newest_rev = MAX(m->newest_rev, g->revision);
	for (uint32_t i = 0; g->listed && i < g->n_series; i++)
		c.series += g->series[i].listed;
	m->counts.series += c.series - g->counted.series;
	m->counts.segments += c.segments - g->counted.segments;
	m->counts.chunks += c.chunks - g->counted.chunks;
	m->counts.rows += c.rows - g->counted.rows;
	g->counted = c;
}

static void set_listed(struct model *m, struct gpu *g, bool listed)
{
	g->listed = listed;
	g->listed_as = listed ? g->ident->id->incarnation : 0;
	g->host->listed += listed ? 1U : -1U;
	g->host->changed_rev = m->revision;
	if (!listed && !m->listing)
		m->newest_rev = MAX(m->newest_rev, m->revision);
	m->n_gpus += listed ? 1ULL : -1ULL;
}

/* A GPU is there as long as it has chunks; an identity alone is what ended leases leave. */
static bool has_chunks(const struct gpu *g)
{
	for (uint32_t i = 0; i < g->n_segments; i++)
		if (g->segments[i]->n)
			return true;
	return false;
}

/* The folder's own coming and going; everything in it follows silently then. */
static void publish_folder(struct model *m, struct gpu *g, struct changes *ch)
{
	bool shown = g->ident && has_chunks(g);

	ch->within_new = false;
	if (g->listed && (!shown || g->listed_as != g->ident->id->incarnation)) {
		tell_gpu(ch, CHANGE_GPU_REMOVED, g);
		set_listed(m, g, false);
		ch->within_new = true;
	}
	if (shown && !g->listed) {
		tell_gpu(ch, CHANGE_GPU_ADDED, g);
		set_listed(m, g, true);
		ch->within_new = true;
	} else if (shown && g->changed) {
		tell_gpu(ch, CHANGE_GPU, g);
	}
	g->changed = false;
}

/* A host is there while it has a GPU; the one whose only GPU is replaced has never gone. */
static void publish_host(struct host *h, struct changes *ch)
{
	bool shown = h->listed > 0;

	if (shown != h->told)
		tell_host(ch, shown ? CHANGE_HOST_ADDED : CHANGE_HOST_REMOVED, h->name);
	h->told = shown;
}

static void remove_gpu(struct model *m, struct gpu *g, struct changes *ch)
{
	struct host *h = g->host;

	gpu_stop_seeking(m, g);
	map_remove(&h->gpus, g->name, strlen(g->name));
	g->dirty_next = ch->gone;
	ch->gone = g;
	if (map_count(&h->gpus))
		return;
	map_remove(&m->hosts, h->name, strlen(h->name));
	h->gone_next = ch->gone_hosts;
	ch->gone_hosts = h;
}

static int64_t newest_gpu(const struct model *m)
{
	int64_t ns = 0;

	map_each (&m->hosts, i) {
		const struct host *h = m->hosts.entries[i].value;

		map_each (&h->gpus, j) {
			const struct gpu *g = h->gpus.entries[j].value;

			if (g->listed)
				ns = MAX(ns, g->last_ns);
		}
	}
	return ns;
}

static void publish_gpu(struct model *m, struct gpu *g, struct changes *ch)
{
	int64_t before = g->last_ns;

	publish_folder(m, g, ch);
	publish_host(g->host, ch);
	publish_segments(m, g, ch);
	publish_series(m, g, ch);
	sum_up(m, g);
	gpu_file(m, g);
	m->stored_ns = MAX(m->stored_ns, g->stored_ns);
	if (!g->ident && !g->n_segments)
		remove_gpu(m, g, ch);
	if (g->listed && g->last_ns >= m->last_ns)
		m->last_ns = g->last_ns;
	else if (before == m->last_ns)
		m->last_ns = newest_gpu(m);
}

void model_publish(struct model *m, struct changes *ch)
{
	while (m->dirty) {
		struct gpu *g = m->dirty;

		m->dirty = g->dirty_next;
		g->dirty = false;
		publish_gpu(m, g, ch);
	}
}

/* ---- after a list ---------------------------------------------------------------------------- */

static bool same_latest(const struct latest *a, const struct latest *b)
{
	return a && b && a->time_ns == b->time_ns && a->seq == b->seq &&
	       a->segment_ns == b->segment_ns && slice_eq(latest_value(a), latest_value(b));
}

static void inherit_series(struct gpu *g, const struct gpu *old)
{
	for (uint32_t i = 0; i < MIN(g->n_series, old->n_series); i++) {
		g->series[i].listed = old->series[i].listed;
		g->series[i].told = old->series[i].told;
		g->series[i].dirty = !same_latest(gpu_latest(g, i), gpu_latest(old, i));
	}
}

static void inherit_segments(struct gpu *g, const struct gpu *old, struct changes *ch)
{
	for (uint32_t i = 0; i < old->n_segments; i++) {
		const struct segment *was = old->segments[i];
		uint32_t at = gpu_segment_index(g, was->start_ns, was->incarnation);
		struct segment *s = at < g->n_segments ? g->segments[at] : NULL;

		if (s && s->start_ns == was->start_ns && s->incarnation == was->incarnation) {
			s->listed = was->listed;
			s->high = was->high;
		} else if (was->listed) {
			tell_segment(ch, CHANGE_SEGMENT_REMOVED, old, was);
		}
	}
}

static void inherit_gpu(struct model *m, const struct gpu *old, struct changes *ch)
{
	struct gpu *g = model_gpu(m, slice_str(old->host->name), slice_str(old->name));

	if (!g || !g->ident || g->ident->id->incarnation != old->listed_as) {
		tell_gpu(ch, CHANGE_GPU_REMOVED, old);
		return;
	}
	set_listed(m, g, true);
	g->changed = g->ident_rev != old->ident_rev;
	inherit_series(g, old);
	inherit_segments(g, old, ch);
}

static void inherit_host(struct model *m, const struct host *old, struct changes *ch)
{
	struct host *h = map_get_str(&m->hosts, old->name);

	if (h && h->listed)
		h->told = old->told;
	else if (old->told)
		tell_host(ch, CHANGE_HOST_REMOVED, old->name);
}

void model_inherit(struct model *m, const struct model *old, struct changes *ch)
{
	map_each (&old->hosts, i) {
		const struct host *h = old->hosts.entries[i].value;

		map_each (&h->gpus, j) {
			const struct gpu *g = h->gpus.entries[j].value;

			if (g->listed)
				inherit_gpu(m, g, ch);
		}
		inherit_host(m, h, ch);
	}
}

bool model_has_gap(const struct model *m)
{
	map_each (&m->hosts, i) {
		const struct host *h = m->gaps ? m->hosts.entries[i].value : NULL;

		for (uint32_t j = 0; h && j < h->gpus.count; j++) {
			const struct gpu *g = h->gpus.entries[j].value;

			for (uint32_t k = 0; k < g->n_segments; k++)
				if (g->segments[k]->gap_since.ns &&
				    mono_ms_since(g->segments[k]->gap_since) >= GAP_MS)
					return true;
		}
	}
	return false;
}

uint32_t model_hosts(const struct model *m)
{
	uint32_t n = 0;

	map_each (&m->hosts, i) {
		const struct host *h = m->hosts.entries[i].value;

		n += h->listed > 0;
	}
	return n;
}
