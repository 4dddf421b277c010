/* A worker: takes hosts, claims their messages, stores their rows, one turn after the other.
 *
 * A host belongs to one worker (by hash), so that one completion of it is in flight. Several small
 * hosts share a turn, and with it the transactions. A redelivered message has a turn of its own, so
 * that a poisonous one cannot take its neighbours with it. */
#ifndef GPUTEL_WORKER_H
#define GPUTEL_WORKER_H

#include "consumer.h"
#include "keeping.h"
#include "tally.h"

struct worker_conf {
	int64_t segment_ns;
	int64_t max_retries;
	size_t batch;        /* most messages of a turn */
	size_t buffer_bytes; /* most payload bytes of a turn */
	const struct keeping *keeping;
	int64_t deadline_ms; /* a turn that computes for longer ends the process */
};

struct worker {
	struct consumer *consumer;
	struct worker_conf conf;
	unsigned index;
	struct tally tally;  /* as stored, and what was claimed since */
	int64_t turn_cpu_ns; /* under the consumer's lock: its CPU time when the turn began; -1:
				none */
	pthread_t thread;
};

/* Runs until the consumer's stop or lost turns true; sets lost itself when it finds out. */
int worker_start(struct worker *w, struct consumer *c, unsigned index,
		 const struct worker_conf *conf) must_check;
void worker_join(struct worker *w);
/* The host's stored data as its writer knows them (h->state); read where they are not known. Errors
 * as writer_load. */
int worker_state(struct worker *w, struct host *h, struct err *e) must_check;
/* The same of n hosts (at most WRITER_LOAD_MAX), in one read. Those that it cannot have are left to
 * worker_state, which says why. */
void worker_states(struct worker *w, struct host *const *hosts, size_t n);
void host_forget_state(struct host *h);
/* Under the consumer's lock, at the end of a turn: when the host is to be merged next, and what it
 * takes now. */
void worker_leave_host(struct worker *w, struct host *h);
/* Under the consumer's lock: CPU time that the turn under way has used so far. Waiting for etcd or
 * being stopped (SIGSTOP) is not being busy: neither says anything of the messages in the turn. */
int64_t worker_busy_ms(const struct worker *w);

#endif
