/* The variables: one table, and what their types make of a text. Only conf.c uses it. */
#ifndef GPUTEL_CONF_TABLE_H
#define GPUTEL_CONF_TABLE_H

#include "conf.h"

enum conf_type {
	CONF_STRING,
	CONF_NUMBER,
	CONF_BOOL,
	CONF_DURATION,
	CONF_SIZE,
	CONF_FRACTION,
	CONF_WORD,
};

struct conf_var {
	const char *name;
	enum conf_type type;
	size_t offset;        /* in struct conf */
	const char *fallback; /* the default's text; NULL: the host name */
	int64_t min, max;     /* both inclusive */
	unsigned programs;
	const char *help;
	bool secret;
	const char *const *words; /* CONF_WORD: the value is the index; ends with NULL */
	/* Further demands on a value whose type is right; v is its number. */
	int (*check)(const char *text, int64_t v, struct err *e);
};

extern const struct conf_var conf_vars[];
extern const size_t conf_vars_count;

/* Stores the value in c. -EINVAL: e says what was found and what is expected, without the name. */
int conf_var_set(const struct conf_var *v, const char *text, struct conf *c,
		 struct err *e) must_check;

/* What must hold between variables: calls fault for each that does not. */
void conf_vars_agree(const struct conf *c, void (*fault)(const char *text, void *arg), void *arg);

#endif
