#include "snapshot.h"

#define SNAPSHOT_MAX ((size_t)256 << 20)
#define HASH_SEED    0x736e617073686f74ULL

struct snapshot *snapshot_ref(struct snapshot *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void snapshot_unref(struct snapshot *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	strbuf_release(&s->bytes);
	free(s);
}

int snapshot_take(struct tree *tree, struct node *node, struct snapshot **ret,
		  struct attr *ret_attr)
{
	struct snapshot *s = xcalloc(1, sizeof(*s));
	int r;

	s->refs = 1;
	strbuf_init(&s->bytes, SNAPSHOT_MAX);
	r = tree_snapshot(tree, node, &s->bytes, ret_attr);
	if (r >= 0)
		r = s->bytes.err;
	if (r < 0)
		snapshot_unref(s);
	else
		*ret = s;
	return r;
}

uint64_t snapshot_hash(const struct snapshot *s)
{
	return hash64(s->bytes.s, s->bytes.len, HASH_SEED);
}
