/* --audit: the balance of the whole queue at one revision (common/tally.h), from etcd alone. */
#ifndef GPUTEL_AUDIT_H
#define GPUTEL_AUDIT_H

#include "etcd.h"

/* Prints the figures on standard output. 0: it balances; 1: it does not; < 0: as in etcd.h. */
int audit(struct etcd *c, struct err *e) must_check;

#endif
