#include "receipt.h"

#include "json.h"
#include "keys.h"

#include <stdio.h>

void receipt_encode(struct strbuf *out, const struct receipt *r)
{
	strbuf_addf(out,
		    "{\"v\":1,\"content\":\"%s\",\"batch_size\":%lld,\"segment_s\":%lld"
		    ",\"done\":%lld,\"complete\":%s,\"published\":%lld,\"duplicate\":%lld"
		    ",\"messages\":%lld}",
		    r->content, (long long)r->batch_size, (long long)r->segment_s,
		    (long long)r->done, r->complete ? "true" : "false", (long long)r->published,
		    (long long)r->duplicate, (long long)r->messages);
}

static bool is_damaged(const struct receipt *r)
{
	return strlen(r->content) != 2 * SHA256_LEN || r->batch_size < 1 || r->segment_s < 1 ||
	       r->segment_s > 86400 || r->done < 0 || r->published < 0 || r->duplicate < 0 ||
	       r->messages < 0;
}

int receipt_decode(const struct etcd_kv *kv, struct receipt *ret, struct err *e)
{
	struct receipt x = {.mod_rev = kv->mod_rev};
	struct json *doc;
	struct slice content;
	int r = json_parse(kv->value.p, kv->value.len, &doc, e);

	if (r)
		return err_prefix(e, r, "receipt");
	content = json_str(json_get(doc, "content"));
	snprintf(x.content, sizeof(x.content), "%.*s", (int)MIN(content.len, sizeof(x.content)),
		 content.p);
	x.batch_size = json_int(json_get(doc, "batch_size"), 0);
	x.segment_s = json_int(json_get(doc, "segment_s"), 0);
	x.done = json_int(json_get(doc, "done"), -1);
	x.complete = json_bool(json_get(doc, "complete"));
	x.published = json_int(json_get(doc, "published"), -1);
	x.duplicate = json_int(json_get(doc, "duplicate"), -1);
	x.messages = json_int(json_get(doc, "messages"), -1);
	if (json_int(json_get(doc, "v"), 0) != 1 || is_damaged(&x))
		r = err_set(e, -EBADMSG, "receipt: the record is damaged");
	json_free(doc);
	if (r)
		return r;
	memcpy(x.id, ret->id, sizeof(x.id));
	*ret = x;
	return 0;
}

int receipt_read(struct etcd *c, struct receipt *ret, struct err *e)
{
	struct etcd_reply reply;
	int r = etcd_get(c, key_processed(ret->id).s, NULL, 0, 0, 0, &reply, e);

	if (r)
		return r;
	r = reply.ranges[0].n ? receipt_decode(&reply.ranges[0].kvs[0], ret, e) : -ENOENT;
	etcd_reply_release(&reply);
	return r;
}

void receipt_resume(struct receipt *r)
{
	r->duplicate += r->published;
	r->published = r->messages = 0;
}
