/* SHA-256, random bytes, constant-time comparison (libsodium), CRC-32C, and ULIDs. */
#ifndef GPUTEL_DIGEST_H
#define GPUTEL_DIGEST_H

#include "base.h"

#define SHA256_LEN 32
#define ULID_LEN   26 /* characters of a ULID's text; Crockford base32, sorts by time */

/* Call once at start, before threads. -EIO: libsodium could not be set up. */
int digest_init(void) must_check;

void sha256(const void *p, size_t n, uint8_t ret[SHA256_LEN]);

struct sha256_state {
	_Alignas(64) uint8_t opaque[192];
};
void sha256_begin(struct sha256_state *s);
void sha256_update(struct sha256_state *s, const void *p, size_t n);
void sha256_end(struct sha256_state *s, uint8_t ret[SHA256_LEN]);

void hex(const void *p, size_t n, char *ret /* 2n + 1 */);

void random_bytes(void *p, size_t n);
uint64_t random_u64(void);
/* CRC-32C (Castagnoli, as in iSCSI, RFC 3720 B.4) with the CPU's instruction where there is one. */
uint32_t crc32c(const void *p, size_t n);
uint32_t crc32c_portable(const void *p, size_t n); /* the same without it */

bool equal_const_time(const void *a, const void *b, size_t n);

/* A new ULID (https://github.com/ulid/spec): 48 bits of wall-clock milliseconds, 80 random bits;
 * increasing within this process, also when the clock steps back. Thread-safe. */
void ulid_new(char ret[ULID_LEN + 1]);
bool ulid_valid(struct slice s);
int64_t ulid_ms(const char *ulid); /* when it was made, since 1970 */

#endif
