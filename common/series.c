#include "series.h"

#include "identity.h"
#include "keys.h"
#include "labels.h"
#include "map.h"
#include "units.h"

#define BUCKETS_FIRST  1024
#define INTERNED_BYTES 64 /* of an entry of struct map, about, besides its key */

/* A table of its own rather than map.h: keys are long, lie beside the entry, come in pieces. */
struct entry {
	struct series_ref ref;
	struct entry *chain; /* in its bucket */
	struct entry *next;  /* what came after it the last time, or NULL */
	uint64_t hash;
	bool is_plain; /* no line break in the key, nor a CR that would be part of one at its end */
	size_t key_len[3];
	char text[]; /* the key, then what the ref's slices point to */
};

struct series_table {
	struct entry **buckets;
	uint32_t n_buckets; /* a power of two, or 0 */
	uint32_t count, max;
	size_t bytes, bytes_max;
	struct entry *last;                           /* found or added last, or NULL */
	struct map hosts, gpus, series, attributions; /* text → id + 1 */
};

/* ---- the table ------------------------------------------------------------------------------ */

struct series_table *series_table_new(uint32_t max_entries, size_t max_bytes)
{
	struct series_table *t = xcalloc(1, sizeof(*t));

	t->max = max_entries;
	t->bytes_max = max_bytes;
	return t;
}

static void free_chain(struct entry *e)
{
	while (e) {
		struct entry *chain = e->chain;

		free(e);
		e = chain;
	}
}

void series_forget(struct series_table *t)
{
	for (uint32_t i = 0; i < t->n_buckets; i++)
		free_chain(t->buckets[i]);
	free(t->buckets);
	map_release(&t->hosts);
	map_release(&t->gpus);
	map_release(&t->series);
	map_release(&t->attributions);
	*t = (struct series_table){.max = t->max, .bytes_max = t->bytes_max};
}

void series_table_free(struct series_table *t)
{
	if (!t)
		return;
	series_forget(t);
	free(t);
}

uint32_t series_count(const struct series_table *t)
{
	return t->count;
}

static struct entry **bucket_of(const struct series_table *t, uint64_t hash)
{
	return &t->buckets[hash & (t->n_buckets - 1)];
}

static int grow(struct series_table *t)
{
	struct series_table bigger = {.n_buckets = MAX(t->n_buckets * 2, BUCKETS_FIRST)};

	if (t->count < t->n_buckets)
		return 0;
	bigger.buckets = calloc(bigger.n_buckets, sizeof(*bigger.buckets));
	if (!bigger.buckets)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n_buckets; i++) {
		for (struct entry *e = t->buckets[i], *chain; e; e = chain) {
			struct entry **b = bucket_of(&bigger, e->hash);

			chain = e->chain;
			e->chain = *b;
			*b = e;
		}
	}
	free(t->buckets);
	t->buckets = bigger.buckets;
	t->n_buckets = bigger.n_buckets;
	return 0;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static uint64_t key_hash(const struct series_key *key)
{
	uint64_t h = 0;

	for (int i = 0; i < 3; i++)
		h = hash64(key->piece[i].p, key->piece[i].len, h);
	return h;
}

static inline bool key_is(const struct entry *e, const struct series_key *key)
{
	const char *p = e->text;

	for (int i = 0; i < 3; i++) {
		if (!slice_eq((struct slice){p, e->key_len[i]}, key->piece[i]))
			return false;
		p += e->key_len[i];
	}
	return true;
}

static size_t key_size(const struct series_key *key)
{
	return key->piece[0].len + key->piece[1].len + key->piece[2].len;
}

static const struct series_ref *comes_now(struct series_table *t, struct entry *e)
{
	if (t->last)
		t->last->next = e;
	t->last = e;
	return &e->ref;
}

const struct series_ref *series_find(struct series_table *t, const struct series_key *key)
{
	struct entry *e = t->last ? t->last->next : NULL;
	uint64_t hash;

	if (e && key_is(e, key)) {
		t->last = e;
		return &e->ref;
	}
	if (!t->n_buckets)
		return NULL;
	hash = key_hash(key);
	for (e = *bucket_of(t, hash); e; e = e->chain) {
		if (e->hash == hash && key_is(e, key))
			return comes_now(t, e);
	}
	return NULL;
}

bool series_expected(const struct series_table *t, struct series_key *ret)
{
	const struct entry *e = t->last ? t->last->next : NULL;
	const char *p;

	if (!e || !e->is_plain)
		return false;
	__builtin_prefetch(e->next);
	p = e->text;
	for (int i = 0; i < 3; i++) {
		ret->piece[i] = (struct slice){p, e->key_len[i]};
		p += e->key_len[i];
	}
	return true;
}

const struct series_ref *series_came(struct series_table *t)
{
	t->last = t->last->next;
	return &t->last->ref;
}

/* ---- canonical form ------------------------------------------------------------------------- */

/* What only labels know, beside the fields. */
enum { KNOWN_DRIVER = FIELD_COUNT, KNOWN_MIG, KNOWN_COUNT, KNOWN_NOWHERE };

/* Labels that are held elsewhere, and where. */
static const struct {
	const char *label;
	int known;
} held[] = {
	{"DCGM_FI_DRIVER_VERSION", KNOWN_DRIVER},
	{"GPU_I_ID", KNOWN_MIG},
	{"Hostname", KNOWN_NOWHERE},
	{"UUID", FIELD_UUID},
	{"__name__", KNOWN_NOWHERE},
	{"container", FIELD_CONTAINER},
	{"device", FIELD_DEVICE},
	{"gpu", KNOWN_NOWHERE},
	{"modelName", FIELD_MODEL},
	{"namespace", FIELD_NAMESPACE},
	{"pod", FIELD_POD},
};

static const struct {
	enum series_field field;
	bool needed;
} names[] = {
	{FIELD_HOST, true},   {FIELD_GPU, true},        {FIELD_METRIC, true}, {FIELD_UUID, false},
	{FIELD_MODEL, false}, {FIELD_NAMESPACE, false}, {FIELD_POD, false},
};

struct canon {
	struct slice known[KNOWN_COUNT];
	struct strbuf unescaped, labels;
	char *gpu; /* of a MIG instance */
};

static void canon_release(struct canon *c)
{
	strbuf_release(&c->unescaped);
	strbuf_release(&c->labels);
	free(c->gpu);
}

static int held_as(struct slice label)
{
	for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
		if (slice_eq(label, slice_str(held[i].label)))
			return held[i].known;
	}
	return -1;
}

static struct slice unescape(struct canon *c, struct slice value)
{
	size_t start = c->unescaped.len;

	labels_unescape(&c->unescaped, value);
	return (struct slice){c->unescaped.s + start, c->unescaped.len - start};
}

/* Sorts out the labels that are held elsewhere; the others are canonical in c->labels then. */
static int take_labels(struct canon *c, struct slice text, struct err *e)
{
	struct label labels[LABELS_MAX];
	int n = labels_split(text, labels, e), kept = 0;

	if (n < 0)
		return err_prefix(e, n, "malformed labels");
	/* At once, so that it does not move while slices point into it. */
	strbuf_reserve(&c->unescaped, text.len);
	for (int i = 0; i < n; i++) {
		int k = held_as(labels[i].name);

		if (k < 0)
			labels[kept++] = labels[i];
		else if (k < KNOWN_COUNT && !c->known[k].len)
			c->known[k] = unescape(c, labels[i].value);
	}
	labels_join(&c->labels, labels, kept);
	return c->labels.err == -EMSGSIZE ? err_set(e, -EINVAL, "labels are too long")
					  : MIN(c->labels.err, c->unescaped.err);
}

static void name_instance(struct canon *c)
{
	struct slice *gpu = &c->known[FIELD_GPU], mig = c->known[KNOWN_MIG];

	if (!mig.len || !gpu->len)
		return;
	c->gpu = xasprintf("%.*s.%.*s", (int)gpu->len, gpu->p, (int)mig.len, mig.p);
	*gpu = slice_str(c->gpu);
}

/* Pointers and identities are JSON: what is not UTF-8 would come back as something else. */
static int check_text(const struct slice fields[FIELD_COUNT], enum series_field *ret_field,
		      struct err *e)
{
	for (int i = 0; i < FIELD_COUNT; i++) {
		*ret_field = (enum series_field)i;
		if (!utf8_valid(fields[i]))
			return err_set(e, -EINVAL, "not UTF-8");
	}
	return 0;
}

static int check_names(const struct canon *c, enum series_field *ret_field, struct err *e)
{
	char encoded[NAME_MAX_ENCODED + 1];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int r = name_encode_to(encoded, c->known[names[i].field]);

		*ret_field = names[i].field;
		if (r == -ENAMETOOLONG)
			return err_set(e, -EINVAL, "longer than %d bytes as a file's name",
				       NAME_MAX_ENCODED);
		if (names[i].field == FIELD_METRIC && c->known[FIELD_LABELS].len &&
		    strlen(encoded) > METRIC_NAME_MAX)
			return err_set(e, -EINVAL,
				       "longer than %d bytes as a file's name, with labels",
				       METRIC_NAME_MAX);
		if (r < 0 && names[i].needed)
			return err_set(e, -EINVAL, "empty");
	}
	return 0;
}

static int canonicalise(struct canon *c, const struct slice fields[FIELD_COUNT],
			enum series_field *ret_field, struct err *e)
{
	int r;

	r = check_text(fields, ret_field, e);
	if (r < 0)
		return r;
	memcpy(c->known, fields, FIELD_COUNT * sizeof(*fields));
	strbuf_init(&c->unescaped, LABELS_BYTES);
	strbuf_init(&c->labels, LABELS_BYTES);
	*ret_field = FIELD_LABELS;
	r = take_labels(c, fields[FIELD_LABELS], e);
	if (r < 0)
		return r;
	name_instance(c);
	c->known[FIELD_LABELS] = (struct slice){c->labels.s, c->labels.len};
	return check_names(c, ret_field, e);
}

/* ---- adding --------------------------------------------------------------------------------- */

/* The id of a tuple of texts. */
static uint32_t intern(struct series_table *t, struct map *m, const struct slice *texts, size_t n)
{
	struct strbuf key;
	uintptr_t id;

	strbuf_init(&key, SIZE_MAX / 2);
	for (size_t i = 0; i < n; i++)
		strbuf_add_lstr(&key, texts[i]);
	id = (uintptr_t)map_get(m, key.s, key.len);
	if (!id) {
		id = map_count(m) + 1;
		map_put(m, key.s, key.len, (void *)id);
		t->bytes += key.len + INTERNED_BYTES;
	}
	strbuf_release(&key);
	return (uint32_t)id - 1;
}

static void set_ids(struct series_table *t, struct series_ref *r)
{
	const struct batch_series *s = &r->series;
	const struct attribution *a = &r->attribution;
	struct slice series[] = {r->host,  s->gpu,    s->metric, s->device,
				 s->model, s->driver, s->labels};
	struct slice attribution[] = {a->uuid, a->container, a->pod, a->namespace};

	r->id = t->count;
	r->host_id = intern(t, &t->hosts, series, 1);
	r->gpu_id = intern(t, &t->gpus, series, 2);
	r->series_id = intern(t, &t->series, series, ARRAY_SIZE(series));
	r->attribution_id = intern(t, &t->attributions, attribution, ARRAY_SIZE(attribution));
}

static size_t texts_size(const struct canon *c)
{
	size_t n = 0;

	for (int i = 0; i < KNOWN_COUNT; i++)
		n += c->known[i].len;
	return n;
}

static char *put(char *to, struct slice s)
{
	return s.len ? mempcpy(to, s.p, s.len) : to;
}

/* Copies text i of c to *at and moves *at behind it. */
static struct slice keep(const struct canon *c, int i, char **at)
{
	struct slice s = {*at, c->known[i].len};

	*at = put(*at, c->known[i]);
	return s;
}

static void fill_entry(struct entry *e, const struct series_key *key, const struct canon *c)
{
	char *at = e->text;

	for (int i = 0; i < 3; i++) {
		e->key_len[i] = key->piece[i].len;
		at = put(at, key->piece[i]);
	}
	e->is_plain = !memchr(e->text, '\n', (size_t)(at - e->text)) && at[-1] != '\r';
	e->hash = key_hash(key);
	e->ref.percent = metric_is_percentage(c->known[FIELD_METRIC]);
	e->ref.host = keep(c, FIELD_HOST, &at);
	e->ref.series = (struct batch_series){
		.gpu = keep(c, FIELD_GPU, &at),
		.metric = keep(c, FIELD_METRIC, &at),
		.device = keep(c, FIELD_DEVICE, &at),
		.model = keep(c, FIELD_MODEL, &at),
		.driver = keep(c, KNOWN_DRIVER, &at),
		.labels = keep(c, FIELD_LABELS, &at),
	};
	e->ref.attribution = (struct attribution){
		.uuid = keep(c, FIELD_UUID, &at),
		.container = keep(c, FIELD_CONTAINER, &at),
		.pod = keep(c, FIELD_POD, &at),
		.namespace = keep(c, FIELD_NAMESPACE, &at),
	};
}

/* One entry fits always, or a caller that forgets and tries again would do so for ever. */
static bool is_full(const struct series_table *t, size_t size)
{
	return t->count && (t->count >= t->max || t->bytes + size > t->bytes_max);
}

static int add(struct series_table *t, const struct series_key *key, const struct canon *c,
	       const struct series_ref **ret)
{
	size_t size = sizeof(struct entry) + key_size(key) + texts_size(c);
	struct entry *e, **bucket;
	int r;

	if (is_full(t, size))
		return -ENOBUFS;
	r = grow(t);
	e = r < 0 ? NULL : calloc(1, size);
	if (!e)
		return -ENOMEM;
	fill_entry(e, key, c);
	set_ids(t, &e->ref);
	bucket = bucket_of(t, e->hash);
	e->chain = *bucket;
	*bucket = e;
	t->count++;
	t->bytes += size;
	*ret = comes_now(t, e);
	return 0;
}

int series_add(struct series_table *t, const struct series_key *key,
	       const struct slice fields[FIELD_COUNT], const struct series_ref **ret,
	       enum series_field *ret_field, struct err *e)
{
	struct canon c = {0};
	int r = canonicalise(&c, fields, ret_field, e);

	if (r == 0)
		r = add(t, key, &c, ret);
	if (r == -ENOMEM)
		err_set(e, r, "out of memory");
	canon_release(&c);
	return r;
}
