#include "tokens.h"

#include <ctype.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <strings.h>

#include "digest.h"
#include "strbuf.h"

#define TOKENS_MAX  4096
#define LINE_BYTES  4096
#define TOKEN_BYTES 32
#define TOKEN_MARK  "gputel_" /* so that leaked ones can be found by their look */

struct token {
	uint8_t hash[SHA256_LEN];
	struct principal *who;
};

struct table {
	struct token *t;
	size_t n;
};

struct tokens {
	pthread_rwlock_t lock;
	/* Under lock. */
	bool needed; /* there is a file */
	struct table table;
};

/* ---- principals ------------------------------------------------------------------------------ */

void principal_unref(struct principal *p)
{
	if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		return;
	free(p->reads);
	free(p->writes);
	free(p);
}

struct principal *principal_ref(struct principal *p)
{
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
	return p;
}

bool principal_may_read_all(const struct principal *p)
{
	return !p || !p->reads;
}

bool principal_may_write_all(const struct principal *p)
{
	return !p || !p->writes;
}

bool principal_may_write_any(const struct principal *p)
{
	return principal_may_write_all(p) || *p->writes;
}

static bool any_matches(const char *globs, const char *host)
{
	char glob[LINE_BYTES];

	for (const char *at = globs; *at;) {
		size_t n = strcspn(at, ",");

		snprintf(glob, sizeof(glob), "%.*s", (int)n, at);
		if (fnmatch(glob, host, 0) == 0)
			return true;
		at += n + (at[n] != '\0');
	}
	return false;
}

bool principal_may_read(const struct principal *p, const char *host)
{
	return principal_may_read_all(p) || any_matches(p->reads, host);
}

bool principal_may_write(const struct principal *p, const char *host)
{
	return principal_may_write_all(p) || any_matches(p->writes, host);
}

/* ---- the file -------------------------------------------------------------------------------- */

static void table_release(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		principal_unref(t->t[i].who);
	free(t->t);
	*t = (struct table){0};
}

static bool is_name(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("-_.@", s[i]))
			return false;
	return n > 0 && n <= TOKEN_NAME_MAX;
}

static bool unhex(const char *s, uint8_t ret[SHA256_LEN])
{
	if (strlen(s) != 2 * SHA256_LEN || strspn(s, "0123456789abcdefABCDEF") != 2 * SHA256_LEN)
		return false;
	for (size_t i = 0; i < SHA256_LEN; i++)
		sscanf(s + 2 * i, "%2hhx", &ret[i]);
	return true;
}

/* "*" is everything there is; without any scope all are. */
static char *globs_of(const char *scope, bool all)
{
	return all || (scope && !strcmp(scope, "*")) ? NULL : xstrdup(scope ? scope : "");
}

/* -EINVAL: e says what is wrong with the scopes in rest. */
static int take_scopes(char *rest, const char **ret_reads, const char **ret_writes, struct err *e)
{
	const char *scope;

	while ((scope = strtok_r(NULL, " \t\r\n", &rest))) {
		size_t n = strcspn(scope, "=") + 1;
		const char **ret = !strncmp(scope, "read=", n)    ? ret_reads
				   : !strncmp(scope, "write=", n) ? ret_writes
								  : NULL;

		if (!ret || n > strlen(scope) || !scope[n])
			return err_set(e, -EINVAL,
				       "\"%.80s\" is no scope (expected read=HOSTGLOB,… or "
				       "write=HOSTGLOB,…)",
				       scope);
		if (*ret)
			return err_set(e, -EINVAL, "%.*s is given twice", (int)n - 1, scope);
		*ret = scope + n;
	}
	return 0;
}

static int add_token(struct table *t, const char *name, const uint8_t hash[SHA256_LEN],
		     const char *reads, const char *writes)
{
	struct principal *who = xcalloc(1, sizeof(*who));

	who->refs = 1;
	strcpy(who->name, name);
	who->reads = globs_of(reads, !reads && !writes);
	who->writes = globs_of(writes, !reads && !writes);
	t->t = xrealloc(t->t, (t->n + 1) * sizeof(*t->t));
	memcpy(t->t[t->n].hash, hash, SHA256_LEN);
	t->t[t->n++].who = who;
	return 0;
}

static int parse_line(struct table *t, char *line, struct err *e)
{
	char *rest = line, *name = strtok_r(line, " \t\r\n", &rest);
	char *hash = strtok_r(NULL, " \t\r\n", &rest);
	const char *reads = NULL, *writes = NULL;
	uint8_t bytes[SHA256_LEN];
	int r;

	if (!name || name[0] == '#')
		return 0;
	if (!is_name(name))
		return err_set(e, -EINVAL, "\"%.80s\" is no name (expected letters, digits, -_.@)",
			       name);
	if (!hash || !unhex(hash, bytes))
		return err_set(e, -EINVAL, "expected the token's SHA-256 as 64 hex digits");
	r = take_scopes(rest, &reads, &writes, e);
	if (r)
		return r;
	if (t->n == TOKENS_MAX)
		return err_set(e, -EINVAL, "more than %d tokens", TOKENS_MAX);
	return add_token(t, name, bytes, reads, writes);
}

static int read_table(const char *path, struct table *ret, struct err *e)
{
	FILE *f = fopen(path, "re");
	char line[LINE_BYTES];
	struct table t = {0};
	int r = 0, number = 0;

	if (!f)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	while (!r && fgets(line, sizeof(line), f)) {
		number++;
		r = strchr(line, '\n') || feof(f) ? parse_line(&t, line, e)
						  : err_set(e, -EINVAL, "the line is too long");
		if (r)
			err_prefix(e, r, "%s:%d", path, number);
	}
	if (!r && ferror(f))
		r = err_set(e, -EIO, "%s: cannot be read", path);
	fclose(f);
	if (r)
		table_release(&t);
	else
		*ret = t;
	return r;
}

int tokens_open(struct tokens **ret, const char *path, struct err *e)
{
	struct tokens *t = xcalloc(1, sizeof(*t));
	int r;

	pthread_rwlock_init(&t->lock, NULL);
	r = tokens_reload(t, path, e);
	if (r)
		tokens_close(t);
	else
		*ret = t;
	return r;
}

int tokens_reload(struct tokens *t, const char *path, struct err *e)
{
	struct table fresh = {0}, old;
	int r = *path ? read_table(path, &fresh, e) : 0;

	if (r)
		return r;
	pthread_rwlock_wrlock(&t->lock);
	old = t->table;
	t->table = fresh;
	t->needed = *path;
	pthread_rwlock_unlock(&t->lock);
	table_release(&old);
	return 0;
}

void tokens_close(struct tokens *t)
{
	if (!t)
		return;
	table_release(&t->table);
	pthread_rwlock_destroy(&t->lock);
	free(t);
}

/* ---- asking ---------------------------------------------------------------------------------- */

bool tokens_needed(struct tokens *t)
{
	bool needed;

	pthread_rwlock_rdlock(&t->lock);
	needed = t->needed;
	pthread_rwlock_unlock(&t->lock);
	return needed;
}

struct principal *tokens_find(struct tokens *t, struct slice token)
{
	struct principal *found = NULL;
	uint8_t hash[SHA256_LEN];

	sha256(token.p, token.len, hash);
	pthread_rwlock_rdlock(&t->lock);
	for (size_t i = 0; i < t->table.n; i++)
		if (equal_const_time(t->table.t[i].hash, hash, SHA256_LEN))
			found = t->table.t[i].who;
	if (found)
		principal_ref(found);
	pthread_rwlock_unlock(&t->lock);
	return found;
}

struct principal *tokens_find_bearer(struct tokens *t, const char *authorization)
{
	const char *token = authorization;

	if (!token || strncasecmp(token, "Bearer ", 7) != 0)
		return NULL;
	for (token += 7; *token == ' '; token++)
		;
	return tokens_find(t, slice_str(token));
}

/* ---- a new one ------------------------------------------------------------------------------- */

/* RFC 4648 §5, without padding. */
static void make_url_safe(struct strbuf *b)
{
	while (b->len && b->s[b->len - 1] == '=')
		strbuf_truncate(b, b->len - 1);
	for (size_t i = 0; i < b->len; i++)
		b->s[i] = b->s[i] == '+' ? '-' : b->s[i] == '/' ? '_' : b->s[i];
}

int token_print_new(const char *name, struct err *e)
{
	uint8_t secret[TOKEN_BYTES], hash[SHA256_LEN];
	char text[2 * SHA256_LEN + 1];
	struct strbuf b;

	if (!is_name(name))
		return err_set(e, -EINVAL,
			       "\"%.80s\" is no name for a token (expected letters, digits, -_.@)",
			       name);
	random_bytes(secret, sizeof(secret));
	strbuf_init(&b, 128);
	strbuf_adds(&b, TOKEN_MARK);
	strbuf_add_base64(&b, secret, sizeof(secret));
	make_url_safe(&b);
	sha256(b.s, b.len, hash);
	hex(hash, sizeof(hash), text);
	printf("token (shown only now):       %s\n"
	       "line for GATEWAY_TOKENS_FILE: %s %s\n",
	       b.s, name, text);
	strbuf_release(&b);
	return 0;
}
