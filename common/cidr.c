#include "cidr.h"

#include <arpa/inet.h>

#include "parse.h"

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

int address_parse(struct slice s, struct address *ret)
{
	char text[INET6_ADDRSTRLEN];
	struct address a;

	if (s.len >= sizeof(text))
		return -EINVAL;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	if (inet_pton(AF_INET6, text, a.b) != 1) {
		memcpy(a.b, mapped, sizeof(mapped));
		if (inet_pton(AF_INET, text, a.b + sizeof(mapped)) != 1)
			return -EINVAL;
	}
	*ret = a;
	return 0;
}

bool address_is_v4(const struct address *a)
{
	return memcmp(a->b, mapped, sizeof(mapped)) == 0;
}

int cidr_parse(struct slice s, struct cidr *ret)
{
	const char *slash = memchr(s.p, '/', s.len);
	size_t n = slash ? (size_t)(slash - s.p) : s.len;
	unsigned shift;
	uint64_t bits = 0;
	struct cidr c;

	if (address_parse((struct slice){s.p, n}, &c.base))
		return -EINVAL;
	shift = address_is_v4(&c.base) && !memchr(s.p, ':', n) ? 96 : 0;
	bits = 128 - shift;
	if (slash && parse_u64((struct slice){slash + 1, s.len - n - 1}, bits, &bits))
		return -EINVAL;
	c.bits = (unsigned)bits + shift;
	*ret = c;
	return 0;
}

bool cidr_has(const struct cidr *c, const struct address *a)
{
	unsigned whole = c->bits / 8, rest = c->bits % 8;

	if (memcmp(c->base.b, a->b, whole) != 0)
		return false;
	return !rest || (c->base.b[whole] ^ a->b[whole]) >> (8 - rest) == 0;
}
