/* The variables: one table (conf_table.c), what their types make of a text (conf_value.c), what
 * some demand of it (conf_demand.h). Parsing, --help, --print-config in all its forms,
 * --check-config and reloading are made of it by conf.c and conf_print.c; nobody else uses it. */
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
	bool file; /* names one: whether it can be read matters only where the variable is used */
	/* Programs in which a new value is in force after a reload. Their hooks of SIGHUP see to
	 * that: they hand on what conf_reload has taken over. */
	unsigned live;
	const char *const *words; /* CONF_WORD: the value is the index; ends with NULL */
	/* Further demands on a value whose type is right; v is its number. */
	int (*check)(const char *text, int64_t v, struct err *e);
};

extern const struct conf_var conf_vars[];
extern const size_t conf_vars_count;

/* Stores the value in c. used: the program at hand does. -EINVAL: e says what was found and what is
 * expected, without the name. */
int conf_var_set(const struct conf_var *v, const char *text, bool used, struct conf *c,
		 struct err *e) must_check;
/* Moves a value. */
void conf_var_take(const struct conf_var *v, struct conf *to, struct conf *from);
/* What values may be: "10ms to 10m", "text, json"; nothing for a string. */
struct strbuf;
void conf_var_form(const struct conf_var *v, struct strbuf *out);

/* What must hold between variables: calls fault for each that does not. */
void conf_vars_agree(const struct conf *c, void (*fault)(const char *text, void *arg), void *arg);

/* ---- what was set ---------------------------------------------------------------------------- */

enum conf_source { CONF_DEFAULT, CONF_FILE, CONF_ENVIRONMENT, CONF_FLAG };

/* A variable's effective text and where it stood. */
struct conf_setting {
	char *text;
	enum conf_source source;
	int line; /* CONF_FILE */
};

#endif
