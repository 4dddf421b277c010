#include "subscriptions.h"

static void subscription_release(struct subscription *x)
{
	filter_release(&x->filter);
	tail_unref(x->tail);
}

static void drop_selector(struct selector *x)
{
	if (x)
		__atomic_sub_fetch(&x->users, 1, __ATOMIC_RELAXED);
	selector_unref(x);
}

void subscriptions_init(struct subscriptions *l)
{
	*l = (struct subscriptions){.all_since = INT64_MIN};
}

void subscriptions_release(struct subscriptions *l)
{
	for (size_t i = 0; i < l->n; i++)
		subscription_release(&l->list[i]);
	free(l->list);
	drop_selector(l->selector);
}

const struct subscription *subscriptions_find(const struct subscriptions *l, const char *id)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->list[i].id, id) == 0)
			return &l->list[i];
	return NULL;
}

int subscriptions_add(struct subscriptions *l, struct subscription *x, struct err *e)
{
	if (l->n == SUBSCRIPTIONS_MAX) {
		subscription_release(x);
		return err_set(e, -E2BIG, "more than %d subscriptions", SUBSCRIPTIONS_MAX);
	}
	l->list = xrealloc(l->list, (l->n + 1) * sizeof(*l->list));
	x->number = ++l->numbers;
	l->list[l->n++] = *x;
	l->n_tails += x->tail != NULL;
	return 0;
}

void subscriptions_remove(struct subscriptions *l, const struct subscription *x)
{
	size_t i = (size_t)(x - l->list);

	l->n_tails -= x->tail != NULL;
	subscription_release(&l->list[i]);
	memmove(&l->list[i], &l->list[i + 1], (l->n - i - 1) * sizeof(*l->list));
	l->n--;
}

struct selector *subscriptions_at(const struct subscriptions *l, struct feed *f,
				  struct principal *who, int64_t revision)
{
	struct filter *filters = xcalloc(l->n + 1, sizeof(*filters));
	struct selector *selector = NULL;
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (!l->list[i].tail && l->list[i].since < revision)
			filters[n++] = l->list[i].filter;
	if (n)
		selector = feed_selector(f, filters, n, who);
	free(filters);
	return selector;
}

void subscriptions_select(struct subscriptions *l, struct feed *f, struct principal *who)
{
	struct selector *before = l->selector;

	l->all_since = INT64_MIN;
	for (size_t i = 0; i < l->n; i++)
		if (!l->list[i].tail)
			l->all_since = MAX(l->all_since, l->list[i].since);
	l->selector = subscriptions_at(l, f, who, INT64_MAX);
	if (l->selector)
		__atomic_add_fetch(&l->selector->users, 1, __ATOMIC_RELAXED);
	drop_selector(before);
}

int64_t subscriptions_same_until(const struct subscriptions *l, int64_t at, int64_t end)
{
	for (size_t i = 0; i < l->n; i++)
		if (!l->list[i].tail && l->list[i].since > at)
			end = MIN(end, l->list[i].since);
	return end;
}
