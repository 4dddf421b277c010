/* Networks of addresses: 10.0.0.0/8, 192.168.1.7, ::1, fd00::/8. An IPv4 address and its mapping
 * into IPv6 (::ffff:a.b.c.d) are the same. */
#ifndef GPUTEL_CIDR_H
#define GPUTEL_CIDR_H

#include "base.h"

/* IPv6, or IPv4 as mapped. */
struct address {
	uint8_t b[16];
};

struct cidr {
	struct address base;
	unsigned bits; /* 0-128, of the mapped form */
};

int address_parse(struct slice s, struct address *ret) must_check; /* -EINVAL */
bool address_is_v4(const struct address *a);

int cidr_parse(struct slice s, struct cidr *ret) must_check; /* -EINVAL */
bool cidr_has(const struct cidr *c, const struct address *a);

#endif
