/* The limits that the benchmark's figures are held against.
 *
 *	probe memchr FILE             bytes per second of memchr over the file in memory
 *	probe etcd ENDPOINT SECONDS   transactions and bytes per second that etcd takes from our
 *client: one at a time, each with as many bytes as a publishing one
 */
#include "clock.h"
#include "digest.h"
#include "etcd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSES = 3, PAYLOADS = 16, PAYLOAD_BYTES = 16 * 1024 };

static double seconds_since(struct mono begun)
{
	return (double)(mono_now().ns - begun.ns) / NS_PER_SEC;
}

static size_t count_lines(const char *p, size_t n)
{
	const char *end = p + n;
	size_t lines = 0;

	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		lines++;
		p++;
	}
	return lines;
}

static int probe_memchr(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct mono begun;
	struct stat st;
	size_t lines = 0;
	char *p;

	if (fd < 0 || fstat(fd, &st))
		return 1;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return 1;
	begun = mono_now();
	for (int i = 0; i < PASSES; i++)
		lines += count_lines(p, (size_t)st.st_size);
	printf("{\"bytes_per_s\": %.0f, \"lines\": %zu}\n",
	       (double)st.st_size * PASSES / seconds_since(begun), lines / PASSES);
	return 0;
}

static int put_once(struct etcd *c, const uint8_t *bytes, int64_t n, struct err *e)
{
	struct etcd_reply reply;
	struct etcd_txn t;
	char key[64];
	int r;

	etcd_txn_init(&t, c, "probe");
	for (int i = 0; i < PAYLOADS; i++) {
		snprintf(key, sizeof(key), "/probe/%lld/%d", (long long)n, i);
		etcd_then_put(&t, key, (struct slice){(const char *)bytes, PAYLOAD_BYTES}, 0);
	}
	r = etcd_txn_send(&t, &reply, e);
	etcd_txn_release(&t);
	if (!r)
		etcd_reply_release(&reply);
	return r;
}

static int probe_etcd(const char *endpoint, double seconds)
{
	struct etcd_conf conf = {.endpoints = endpoint,
				 .prefix = "",
				 .dial_timeout_ms = 5000,
				 .request_timeout_ms = 30000,
				 .max_inflight = 1};
	static uint8_t bytes[PAYLOAD_BYTES];
	struct mono begun = mono_now();
	struct etcd *c = NULL;
	struct err e = {0};
	int64_t n = 0;
	int r = etcd_open(&c, &conf, &e);

	random_bytes(bytes, sizeof(bytes));
	while (!r && seconds_since(begun) < seconds)
		r = put_once(c, bytes, n++, &e);
	if (r)
		fprintf(stderr, "probe: %s\n", e.text);
	else
		printf("{\"txn_per_s\": %.1f, \"bytes_per_s\": %.0f}\n",
		       (double)n / seconds_since(begun),
		       (double)n * PAYLOADS * PAYLOAD_BYTES / seconds_since(begun));
	etcd_close(c);
	return r ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "memchr"))
		return probe_memchr(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "etcd"))
		return probe_etcd(argv[2], strtod(argv[3], NULL));
	fprintf(stderr, "usage: probe memchr FILE | probe etcd ENDPOINT SECONDS\n");
	return 2;
}
