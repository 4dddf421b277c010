#include "past.h"

struct past *past_new(struct selector *selector, int64_t after, int64_t upto)
{
	struct past *p = xcalloc(1, sizeof(*p));

	p->selector = selector;
	p->after = after;
	p->upto = upto;
	return p;
}

void past_free(struct past *p)
{
	selector_unref(p->selector);
	for (size_t i = 0; i < p->n_had; i++)
		selector_unref(p->had[i].selector);
	free(p->had);
	extents_release(&p->extents);
	free(p);
}

void past_leave_out(struct past *p, uint64_t number, struct selector *selector, int64_t since)
{
	p->had = xrealloc(p->had, (p->n_had + 1) * sizeof(*p->had));
	p->had[p->n_had++] = (struct others){number, selector, since};
}

bool past_leaves_out(const struct past *p, uint64_t number)
{
	bool leaves = false;

	for (size_t i = 0; i < p->n_had && !leaves; i++)
		leaves = p->had[i].number == number;
	return leaves;
}

static int add_gpu(const struct query_gpu *g, void *arg)
{
	struct past *p = arg;

	if (selector_wants_gpu(p->selector, g->host, g->id->host, g->id->gpu))
		extents_add_gpu(&p->extents, g->host, g->gpu);
	return 0;
}

static int list(struct past *p, struct tree *t)
{
	int r;

	extents_release(&p->extents);
	p->listed_upto = p->stretch ? MIN(p->upto, p->after + p->stretch) : p->upto;
	r = query_gpus(t, NULL, add_gpu, p, NULL);
	if (!r)
		r = extents_list(&p->extents, t, p->after, &p->listed_upto);
	if (r)
		return r;
	p->listed = true;
	p->stretch = 2 * (p->listed_upto - p->after);
	return 0;
}

static struct frame **frames_of(const struct past *p, struct event *e, size_t *ret_n)
{
	struct selector **but = xcalloc(p->n_had + 1, sizeof(struct selector *));
	struct frame **frames;
	size_t n = 0;

	for (size_t i = 0; i < p->n_had; i++)
		if (p->had[i].since < event_revision(e))
			but[n++] = p->had[i].selector;
	frames = event_frames(e, p->selector, but, n, ret_n);
	free(but);
	return frames;
}

/* One commit, or a step to the next stretch. */
int past_next(struct past *p, struct tree *t, struct frame ***ret, size_t *ret_n)
{
	struct event *e;
	int r;

	*ret = NULL;
	*ret_n = 0;
	if (p->after >= p->upto)
		return 0;
	if (!p->listed)
		return (r = list(p, t)) ? r : 1;
	r = extents_next(&p->extents, t, p->selector, &e);
	if (r == 1) {
		*ret = frames_of(p, e, ret_n);
		event_unref(e);
	} else if (r == 0) {
		p->after = p->listed_upto;
		p->listed = false;
	}
	return r < 0 ? r : 1;
}
