#include "phrase.h"

static size_t slot_of(const struct record *r)
{
	return (size_t)((uint64_t)(uintptr_t)r->series * 0x9e3779b97f4a7c15u >> (64 - PHRASE_BITS));
}

static void parts_of(const struct record *r, struct slice parts[PHRASE_PARTS])
{
	const struct attribution *a = &r->attribution;

	parts[0] = slice_str(r->series->name);
	parts[1] = a->uuid;
	parts[2] = a->container;
	parts[3] = a->pod;
	parts[4] = a->namespace;
}

static bool fits(const struct phrase *p, const struct identity *id,
		 const struct slice parts[PHRASE_PARTS])
{
	if (!p || p->id != id)
		return false;
	for (size_t i = 0; i < PHRASE_PARTS; i++)
		if (!slice_eq(p->parts[i], parts[i]))
			return false;
	return true;
}

static void phrase_free(struct phrase *p)
{
	if (!p)
		return;
	strbuf_release(&p->key);
	strbuf_release(&p->text);
	free(p);
}

static struct phrase *phrase_new(const struct phrases *all, const struct record *r,
				 const struct slice parts[PHRASE_PARTS])
{
	struct phrase *p = xcalloc(1, sizeof(*p));
	size_t at = 0;

	p->id = r->id;
	strbuf_init(&p->key, PHRASE_MAX);
	strbuf_init(&p->text, PHRASE_MAX);
	for (size_t i = 0; i < PHRASE_PARTS; i++)
		strbuf_add_slice(&p->key, parts[i]);
	for (size_t i = 0; i < PHRASE_PARTS && !p->key.err; i++) {
		p->parts[i] = (struct slice){p->key.s + at, parts[i].len};
		at += parts[i].len;
	}
	all->render(p, r);
	return p;
}

struct phrase *phrase_of(struct phrases *all, const struct record *r)
{
	struct phrase **slot = &all->slots[slot_of(r)];
	struct slice parts[PHRASE_PARTS];

	parts_of(r, parts);
	if (!fits(*slot, r->id, parts)) {
		phrase_free(*slot);
		*slot = phrase_new(all, r, parts);
	}
	return *slot;
}

void phrases_release(struct phrases *all)
{
	for (size_t i = 0; i < ARRAY_SIZE(all->slots); i++)
		phrase_free(TAKE_PTR(all->slots[i]));
}

void phrases_forget_lines(struct phrases *all)
{
	for (size_t i = 0; i < ARRAY_SIZE(all->slots); i++)
		if (all->slots[i])
			all->slots[i]->line = NULL;
}

static char *put(char *to, const char *p, size_t n)
{
	memcpy(to, p, n);
	return to + n;
}

void phrase_print(const struct phrase *p, struct slice time, struct slice value, struct strbuf *out)
{
	size_t n = p->text.len + time.len + value.len, tail = p->head + p->middle;
	char *to = strbuf_reserve(out, n);

	if (p->text.err)
		out->err = p->text.err;
	if (!to || out->err)
		return;
	to = put(to, p->text.s, p->head);
	to = put(to, time.p, time.len);
	to = put(to, p->text.s + p->head, p->middle);
	to = put(to, value.p, value.len);
	put(to, p->text.s + tail, p->text.len - tail);
	out->len += n;
}
