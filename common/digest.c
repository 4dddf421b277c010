#include "digest.h"

#include <pthread.h>
#include <sodium.h>

#include "clock.h"

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct sha256_state),
	       "sha256_state is too small for libsodium's");

int digest_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

void sha256(const void *p, size_t n, uint8_t ret[SHA256_LEN])
{
	crypto_hash_sha256(ret, p, n);
}

static crypto_hash_sha256_state *inner(struct sha256_state *s)
{
	return (crypto_hash_sha256_state *)(void *)s->opaque;
}

void sha256_begin(struct sha256_state *s)
{
	crypto_hash_sha256_init(inner(s));
}

void sha256_update(struct sha256_state *s, const void *p, size_t n)
{
	crypto_hash_sha256_update(inner(s), p, n);
}

void sha256_end(struct sha256_state *s, uint8_t ret[SHA256_LEN])
{
	crypto_hash_sha256_final(inner(s), ret);
}

void hex(const void *p, size_t n, char *ret)
{
	sodium_bin2hex(ret, 2 * n + 1, p, n);
}

void random_bytes(void *p, size_t n)
{
	randombytes_buf(p, n);
}

uint64_t random_u64(void)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v;
}

bool equal_const_time(const void *a, const void *b, size_t n)
{
	return sodium_memcmp(a, b, n) == 0;
}

/* ---- CRC-32C --------------------------------------------------------------------------------- */

static uint32_t crc_table[256];

__attribute__((constructor)) static void crc_build_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t v = i;

		for (int bit = 0; bit < 8; bit++)
			v = v >> 1 ^ (v & 1 ? 0x82f63b78u : 0);
		crc_table[i] = v;
	}
}

uint32_t crc32c_portable(const void *data, size_t n)
{
	const uint8_t *p = data;
	uint32_t crc = ~0u;

	for (; n > 0; n--)
		crc = crc >> 8 ^ crc_table[(crc ^ *p++) & 0xff];
	return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(const void *data, size_t n)
{
	const uint8_t *p = data;
	uint64_t crc = 0xffffffff, word;

	for (; n >= sizeof(word); n -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		crc = __builtin_ia32_crc32di(crc, word);
	}
	for (; n > 0; n--)
		crc = __builtin_ia32_crc32qi((uint32_t)crc, *p++);
	return ~(uint32_t)crc;
}

uint32_t crc32c(const void *p, size_t n)
{
	return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(p, n) : crc32c_portable(p, n);
}
#else
uint32_t crc32c(const void *p, size_t n)
{
	return crc32c_portable(p, n);
}
#endif

/* ---- ULIDs ----------------------------------------------------------------------------------- */

static const char crockford[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static pthread_mutex_t ulid_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ulid {
	uint64_t ms;
	uint16_t high; /* the upper 16 of the 80 random bits */
	uint64_t low;
} last; /* ulid_lock */

/* Fresh random bits with each new millisecond, the last ones plus one within it. */
static struct ulid ulid_next(void)
{
	uint64_t ms = (uint64_t)(wall_now_ns() / NS_PER_MS);
	struct ulid u;

	pthread_mutex_lock(&ulid_lock);
	if (ms > last.ms)
		last = (struct ulid){ms, (uint16_t)random_u64(), random_u64()};
	else if (++last.low == 0 && ++last.high == 0)
		last.ms++;
	u = last;
	pthread_mutex_unlock(&ulid_lock);
	return u;
}

static void put_base32(char *to, int n, uint64_t v)
{
	for (int i = n - 1; i >= 0; i--, v >>= 5)
		to[i] = crockford[v & 31];
}

void ulid_new(char ret[ULID_LEN + 1])
{
	struct ulid u = ulid_next();

	put_base32(ret, 10, u.ms);
	put_base32(ret + 10, 4, (uint64_t)u.high << 4 | u.low >> 60);
	put_base32(ret + 14, 12, u.low);
	ret[ULID_LEN] = '\0';
}

bool ulid_valid(struct slice s)
{
	/* the first character carries three of the 48 bits */
	if (s.len != ULID_LEN || s.p[0] > '7')
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!s.p[i] || !strchr(crockford, s.p[i]))
			return false;
	}
	return true;
}

/* Of something else than a ULID it is anything. */
int64_t ulid_ms(const char *ulid)
{
	int64_t ms = 0;

	for (int i = 0; i < 10; i++) {
		const char *p = strchr(crockford, ulid[i]);

		ms = ms * 32 + (p ? p - crockford : 0);
	}
	return ms;
}
