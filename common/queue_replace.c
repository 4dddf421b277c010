#include "queue_internal.h"

static int send_if(struct etcd_txn *t, struct err *e)
{
	struct etcd_reply reply;
	int r = etcd_txn_settle(t, &reply, NULL, e);

	etcd_txn_release(t);
	if (r)
		return r;
	r = reply.succeeded ? 0 : -EAGAIN;
	etcd_reply_release(&reply);
	return r;
}

int queue_replace(struct etcd *c, const char *key, int64_t rev, const struct message *m,
		  int64_t part, const struct outgoing *msgs, size_t n, struct err *e)
{
	struct message rest = *m;
	struct etcd_txn t;

	etcd_txn_init(&t, c, "replace");
	etcd_if_mod(&t, key, rev);
	rest.part = part;
	if (part) {
		queue_put_message(&t, key, &rest);
	} else {
		etcd_then_delete(&t, key, NULL);
		etcd_then_delete(&t, key_payload(m->ulid).s, NULL);
	}
	for (size_t i = 0; i < n; i++)
		queue_add_message(&t, &msgs[i]);
	return send_if(&t, e);
}

int queue_bury(struct etcd *c, const char *key, int64_t rev, const struct message *m,
	       const char *reason, struct err *e)
{
	struct key dead = key_deadletter(m->ulid);
	struct message letter = *m;
	struct etcd_txn t;

	letter.reason = (char *)reason;
	etcd_txn_init(&t, c, "bury");
	etcd_if_mod(&t, key, rev);
	if (strcmp(key, dead.s))
		etcd_then_delete(&t, key, NULL);
	queue_put_message(&t, dead.s, &letter);
	return send_if(&t, e);
}
