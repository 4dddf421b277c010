/* Bearer tokens. The file holds a line for each:
 *
 *	NAME SHA256-OF-THE-TOKEN-IN-HEX [read=HOSTGLOB,…] [write=HOSTGLOB,…]
 *
 * Blank lines and lines that start with # are skipped. A token with neither may read and write
 * everything. Else it may only what is named: read hosts (as their folders are named) that match,
 * and with read=* also what speaks of all; push rows of hosts that match. So read=* is a token that
 * cannot write, and write=* one that cannot read. Tokens have 256 random bits, so one round of
 *SHA-256 is as good as any slow hash. */
#ifndef GPUTEL_BRIDGE_TOKENS_H
#define GPUTEL_BRIDGE_TOKENS_H

#include "base.h"

#define TOKEN_NAME_MAX 64
#define BEARER_MARK    "bearer." /* browsers send a token as the subprotocol bearer.TOKEN */

struct tokens;

/* Who a token belongs to; stays valid while referenced, also when the file has changed. */
struct principal {
	int refs; /* atomic */
	char name[TOKEN_NAME_MAX + 1];
	char *reads, *writes; /* globs, separated by ','; "": none; NULL: all */
};

struct principal *principal_ref(struct principal *p);
void principal_unref(struct principal *p); /* NULL is fine */
/* p NULL (no tokens are set): everything. host: encoded. */
bool principal_may_read(const struct principal *p, const char *host);
bool principal_may_read_all(const struct principal *p);
bool principal_may_write(const struct principal *p, const char *host);
bool principal_may_write_all(const struct principal *p);
bool principal_may_write_any(const struct principal *p);

/* path "": there are none. -EINVAL: e names file, line and fault. */
int tokens_open(struct tokens **ret, const char *path, struct err *e) must_check;
/* Reads the file, which may be another one; on failure what was in force stays so. */
int tokens_reload(struct tokens *t, const char *path, struct err *e) must_check;
void tokens_close(struct tokens *t); /* NULL is fine */

bool tokens_needed(struct tokens *t);
/* Whose token it is, as a reference; NULL: nobody's. Takes the same time for every token. */
struct principal *tokens_find(struct tokens *t, struct slice token);
/* The same for an Authorization header, which may be NULL. */
struct principal *tokens_find_bearer(struct tokens *t, const char *authorization);

/* Prints a new token and its line for the file. -EINVAL: no name for a token. */
int token_print_new(const char *name, struct err *e) must_check;

#endif
