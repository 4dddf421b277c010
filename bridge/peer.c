#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

#define PROXIES_MAX 256

struct proxies {
	pthread_rwlock_t lock;
	/* Under lock. */
	struct cidr c[PROXIES_MAX];
	size_t n;
};

struct peer peer_of(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *v6 = (const void *)sa;
	const struct sockaddr_in *v4 = (const void *)sa;
	struct peer p = {.address.b = {[10] = 0xff, [11] = 0xff}};

	if (sa->sa_family == AF_INET6) {
		memcpy(p.address.b, &v6->sin6_addr, 16);
		p.port = ntohs(v6->sin6_port);
	} else if (sa->sa_family == AF_INET) {
		memcpy(p.address.b + 12, &v4->sin_addr, 4);
		p.port = ntohs(v4->sin_port);
	}
	return p;
}

socklen_t peer_sockaddr(const struct peer *p, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *v6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(p->port);
	memcpy(&v6->sin6_addr, p->address.b, 16);
	return sizeof(*v6);
}

void peer_format(const struct peer *p, char ret[PEER_TEXT_MAX])
{
	if (address_is_v4(&p->address))
		inet_ntop(AF_INET, p->address.b + 12, ret, PEER_TEXT_MAX);
	else
		inet_ntop(AF_INET6, p->address.b, ret, PEER_TEXT_MAX);
}

bool peer_is_loopback(const struct peer *p)
{
	static const uint8_t one[16] = {[15] = 1};

	if (address_is_v4(&p->address))
		return p->address.b[12] == 127;
	return memcmp(p->address.b, one, 16) == 0;
}

/* ---- proxies --------------------------------------------------------------------------------- */

struct proxies *proxies_new(const char *list)
{
	struct proxies *x = xcalloc(1, sizeof(*x));

	pthread_rwlock_init(&x->lock, NULL);
	proxies_set(x, list);
	return x;
}

void proxies_set(struct proxies *x, const char *list)
{
	pthread_rwlock_wrlock(&x->lock);
	x->n = 0;
	for (const char *p = list; *p;) {
		size_t n = strcspn(p, ", \t");

		if (n && x->n < PROXIES_MAX && cidr_parse((struct slice){p, n}, &x->c[x->n]) == 0)
			x->n++;
		p += n + (p[n] != '\0');
	}
	pthread_rwlock_unlock(&x->lock);
}

void proxies_free(struct proxies *x)
{
	if (x)
		pthread_rwlock_destroy(&x->lock);
	free(x);
}

/* Under the lock. */
static bool is_trusted(const struct proxies *x, const struct address *a)
{
	for (size_t i = 0; i < x->n; i++)
		if (cidr_has(&x->c[i], a))
			return true;
	return false;
}

static struct slice trim(struct slice s, const char *set)
{
	while (s.len && strchr(set, s.p[0]))
		s = (struct slice){s.p + 1, s.len - 1};
	while (s.len && strchr(set, s.p[s.len - 1]))
		s.len--;
	return s;
}

/* 1.2.3.4, 1.2.3.4:80, "[::1]:80", ::1 */
static int parse_node(struct slice s, struct peer *ret)
{
	const char *end;

	s = trim(s, " \t\"");
	if (s.len && s.p[0] == '[') {
		end = memchr(s.p, ']', s.len);
		if (!end)
			return -EINVAL;
		s = (struct slice){s.p + 1, (size_t)(end - s.p - 1)};
	} else if ((end = memchr(s.p, ':', s.len)) && end == memrchr(s.p, ':', s.len)) {
		s.len = (size_t)(end - s.p);
	}
	ret->port = 0;
	return address_parse(s, &ret->address);
}

/* for=… of one element of Forwarded. */
static struct slice node_of_forwarded(struct slice element)
{
	while (element.len) {
		const char *semicolon = memchr(element.p, ';', element.len);
		size_t n = semicolon ? (size_t)(semicolon - element.p) : element.len;
		struct slice pair = trim((struct slice){element.p, n}, " \t");

		if (pair.len > 4 && strncasecmp(pair.p, "for=", 4) == 0)
			return (struct slice){pair.p + 4, pair.len - 4};
		n += semicolon != NULL;
		element = (struct slice){element.p + n, element.len - n};
	}
	return element;
}

struct peer proxies_client(struct proxies *x, const struct peer *p, const char *forwarded,
			   const char *x_forwarded_for)
{
	struct slice list = slice_str(forwarded         ? forwarded
				      : x_forwarded_for ? x_forwarded_for
							: "");
	struct peer client = *p, hop;

	pthread_rwlock_rdlock(&x->lock);
	while (list.len && is_trusted(x, &client.address)) {
		const char *comma = memrchr(list.p, ',', list.len);
		const char *start = comma ? comma + 1 : list.p;
		struct slice node = {start, (size_t)(list.p + list.len - start)};

		if (forwarded)
			node = node_of_forwarded(node);
		if (parse_node(node, &hop))
			break; /* unknown, hidden: the proxy that says so answers for it */
		client = hop;
		list.len = comma ? (size_t)(comma - list.p) : 0;
	}
	pthread_rwlock_unlock(&x->lock);
	return client;
}
