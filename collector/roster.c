#include "roster.h"

#include "writer.h"

static struct host *new_host(struct roster *s, const char *name, const char *enc)
{
	struct host *h = xcalloc(1, sizeof(*h));

	h->name = xstrdup(name);
	memcpy(h->enc, enc, strlen(enc) + 1);
	h->worker = (unsigned)(hash64(enc, strlen(enc), 1) % s->n_workers);
	map_put(&s->by_name, name, strlen(name), h);
	map_put(&s->by_enc, enc, strlen(enc), h);
	s->placed = false;
	return h;
}

struct host *roster_by_name(struct roster *s, const char *name)
{
	struct host *h = map_get_str(&s->by_name, name);
	char enc[NAME_MAX_ENCODED + 1];

	if (!h && !name_encode_to(enc, slice_str(name)))
		h = new_host(s, name, enc);
	return h;
}

struct host *roster_by_enc(struct roster *s, struct slice enc)
{
	struct host *h = map_get(&s->by_enc, enc.p, enc.len);
	char text[NAME_MAX_ENCODED + 1];
	struct strbuf name;

	if (h || enc.len > NAME_MAX_ENCODED)
		return h;
	memcpy(text, enc.p, enc.len);
	text[enc.len] = '\0';
	strbuf_init(&name, NAME_MAX_ENCODED);
	if (!name_decode(&name, enc))
		h = new_host(s, name.s, text);
	strbuf_release(&name);
	return h;
}

static void host_free(struct host *h)
{
	free(h->lanes);
	free(h->name);
	free(h->writer);
	free(h->take_from);
	writer_free(h->state);
	sizes_release(&h->sizes);
	free(h);
}

void roster_release(struct roster *s)
{
	roster_each (s, i)
		host_free(roster_at(s, i));
	map_release(&s->by_name);
	map_release(&s->by_enc);
}
