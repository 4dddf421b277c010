#include "conf.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "conf_print.h"
#include "conf_table.h"
#include "envfile.h"
#include "etcd.h"
#include "log.h"
#include "strbuf.h"

const char gputel_version[] = GPUTEL_VERSION; /* of the Makefile */

#define VARS_MAX 128

enum action {
	ACTION_RUN,
	ACTION_HELP,
	ACTION_VERSION,
	ACTION_SAMPLE,
	ACTION_MAN,
	ACTION_PRINT,
	ACTION_CHECK,
};

/* One pass over all sources. */
struct loader {
	const struct conf_program *program;
	struct conf *conf;
	struct conf_setting settings[VARS_MAX];
	const char *flags[VARS_MAX]; /* what argv says, or NULL; borrowed */
	char *file;                  /* --config, or NULL */
	enum action action;
	int own; /* options and arguments of the program itself */
	int faults;
	bool logs; /* faults go to the log */
};

/* What conf_reload starts from. */
static struct loader loaded;
static struct conf_program program; /* a copy: the caller's may be gone by then */

static void fault(struct loader *l, const char *fmt, ...) printf_like(2, 3);

static void fault(struct loader *l, const char *fmt, ...)
{
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	l->faults++;
	if (l->logs)
		log_each(LOG_LEVEL_ERROR, "%s", e.text);
	else
		fprintf(stderr, "%s: %s\n", l->program->name, e.text);
}

/* ---- variables ------------------------------------------------------------------------------- */

static bool known(const struct loader *l, size_t i)
{
	return conf_vars[i].programs & l->program->bit;
}

static void assign(struct loader *l, size_t i, const char *text, enum conf_source source, int line)
{
	const struct conf_var *v = &conf_vars[i];
	struct err e;

	if (conf_var_set(v, text, known(l, i), l->conf, &e) < 0) {
		if (source == CONF_FILE)
			fault(l, "%s:%d: %s: %s", l->file, line, v->name, e.text);
		else
			fault(l, "%s: %s", v->name, e.text);
		return;
	}
	free(l->settings[i].text);
	l->settings[i] = (struct conf_setting){xstrdup(text), source, line};
}

static const char *default_of(const struct conf_var *v)
{
	static char host[HOST_NAME_MAX + 1];

	if (v->fallback)
		return v->fallback;
	if (!host[0] && gethostname(host, sizeof(host) - 1) < 0)
		return "localhost";
	return host;
}

static void on_file_line(const char *name, const char *value, int line, void *arg)
{
	struct loader *l = arg;

	if (!name) {
		fault(l, "%s:%d: \"%.100s\" is no assignment (expected NAME=value)", l->file, line,
		      value);
		return;
	}
	for (size_t i = 0; i < conf_vars_count; i++) {
		if (strcmp(conf_vars[i].name, name) != 0)
			continue;
		assign(l, i, value, CONF_FILE, line);
		return;
	}
	fault(l, "%s:%d: %s: unknown variable", l->file, line, name);
}

static void on_disagreement(const char *text, void *arg)
{
	fault(arg, "%s", text);
}

/* From the lowest rank to the highest, so that the last one stands. A malformed value is a fault
 * even where a higher rank hides it, and in every program, whether it uses the variable or not: one
 * file and one environment serve them all. */
static void load_variables(struct loader *l)
{
	struct err e;

	for (size_t i = 0; i < conf_vars_count; i++)
		assign(l, i, default_of(&conf_vars[i]), CONF_DEFAULT, 0);
	if (l->file && envfile_read(l->file, on_file_line, l, &e) < 0)
		fault(l, "--config: %s", e.text);
	for (size_t i = 0; i < conf_vars_count; i++) {
		const char *text = getenv(conf_vars[i].name);

		if (text)
			assign(l, i, text, CONF_ENVIRONMENT, 0);
	}
	for (size_t i = 0; i < conf_vars_count; i++) {
		if (l->flags[i])
			assign(l, i, l->flags[i], CONF_FLAG, 0);
	}
	conf_vars_agree(l->conf, on_disagreement, l);
}

/* ---- flags ----------------------------------------------------------------------------------- */

struct args {
	char **at, **end;
};

static int set_help(const char *value, void *arg, struct err *e)
{
	((struct loader *)arg)->action = ACTION_HELP;
	return 0;
}

static int set_version(const char *value, void *arg, struct err *e)
{
	((struct loader *)arg)->action = ACTION_VERSION;
	return 0;
}

static int set_print(const char *value, void *arg, struct err *e)
{
	struct loader *l = arg;

	if (!value)
		l->action = ACTION_PRINT;
	else if (!strcmp(value, "sample"))
		l->action = ACTION_SAMPLE;
	else if (!strcmp(value, "man"))
		l->action = ACTION_MAN;
	else
		return err_set(e, -EINVAL, "--print-config: \"%.200s\" is neither sample nor man",
			       value);
	return 0;
}

static int set_check(const char *value, void *arg, struct err *e)
{
	((struct loader *)arg)->action = ACTION_CHECK;
	return 0;
}

/* The absolute path, because a daemon leaves its folder before it reloads. */
static int set_file(const char *value, void *arg, struct err *e)
{
	struct loader *l = arg;
	char *path = realpath(value, NULL);

	free(l->file);
	l->file = path ? path : xstrdup(value);
	return 0;
}

static const struct conf_option common_options[] = {
	{"config", 0, "FILE", "read variables from FILE (NAME=value lines)", set_file},
	{"print-config", 0, "[=sample|man]",
	 "print every variable, its value and where it came from; =sample: a file for --config "
	 "with all variables of all programs; =man: these sections for a manual page",
	 set_print},
	{"check-config", 0, NULL, "name every fault in the configuration; exit 0 or 2", set_check},
	{"help", 'h', NULL, "print this", set_help},
	{"version", 'V', NULL, "print the version", set_version},
};

static int usage(struct loader *l, const char *fmt, ...) printf_like(2, 3);

static int usage(struct loader *l, const char *fmt, ...)
{
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	fault(l, "%s (see %s --help)", e.text, l->program->name);
	return -EINVAL;
}

static bool option_is(const struct conf_option *o, struct slice name, char letter)
{
	return letter ? o->letter == letter : slice_eq(slice_str(o->name), name);
}

/* By name, or by letter where that is not 0. The program's own come first. */
static const struct conf_option *find_option(const struct loader *l, struct slice name, char letter)
{
	const struct conf_program *p = l->program;

	for (size_t i = 0; i < p->n_options; i++) {
		if (option_is(&p->options[i], name, letter))
			return &p->options[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(common_options); i++) {
		if (option_is(&common_options[i], name, letter))
			return &common_options[i];
	}
	return NULL;
}

static bool is_common(const struct conf_option *o)
{
	return o >= common_options && o < common_options + ARRAY_SIZE(common_options);
}

/* --name-of-it for NAME_OF_IT. */
static bool flag_is(const char *variable, struct slice flag)
{
	size_t i = 0;

	for (; i < flag.len && variable[i]; i++) {
		char c = variable[i] == '_' ? '-' : (char)tolower((unsigned char)variable[i]);

		if (c != flag.p[i])
			return false;
	}
	return !variable[i] && i == flag.len;
}

static int find_variable(const struct loader *l, struct slice flag, size_t *ret)
{
	for (size_t i = 0; i < conf_vars_count; i++) {
		if (known(l, i) && flag_is(conf_vars[i].name, flag)) {
			*ret = i;
			return 0;
		}
	}
	return -ENOENT;
}

/* The value of an option that needs one: what came with it, or the next argument. */
static int need_value(struct loader *l, struct args *a, const char **value, const char *shown,
		      const char *what)
{
	if (!*value && a->at < a->end)
		*value = *a->at++;
	return *value ? 0 : usage(l, "%s expects a value (%s)", shown, what);
}

static int apply_option(struct loader *l, struct args *a, const struct conf_option *o,
			const char *value, const char *shown)
{
	struct err e = {""};

	if (!o->arg && value)
		return usage(l, "%s takes no value", shown);
	if (o->arg && o->arg[0] != '[' && need_value(l, a, &value, shown, o->arg) < 0)
		return -EINVAL;
	l->own += !is_common(o);
	if (o->set(value, is_common(o) ? l : l->program->arg, &e) == 0)
		return 0;
	fault(l, "%s", e.text);
	return -EINVAL;
}

static int take_long(struct loader *l, struct args *a, const char *text)
{
	size_t len = strcspn(text + 2, "="), i = 0;
	struct slice name = {text + 2, len};
	const char *value = text[2 + len] ? text + 2 + len + 1 : NULL;
	const struct conf_option *o = find_option(l, name, 0);
	char shown[64];

	snprintf(shown, sizeof(shown), "%.*s", (int)MIN(len + 2, sizeof(shown) - 1), text);
	if (o)
		return apply_option(l, a, o, value, shown);
	if (find_variable(l, name, &i) < 0)
		return usage(l, "unknown option %s", shown);
	if (need_value(l, a, &value, shown, "VALUE") < 0)
		return -EINVAL;
	l->flags[i] = value;
	return 0;
}

/* -f, -fv, -o VALUE, -oVALUE. */
static int take_short(struct loader *l, struct args *a, const char *text)
{
	for (const char *p = text + 1; *p; p++) {
		const struct conf_option *o = find_option(l, SLICE_LIT(""), *p);
		const char shown[] = {'-', *p, '\0'};
		bool valued = o && o->arg && o->arg[0] != '[';

		if (!o)
			return usage(l, "unknown option %s", shown);
		if (apply_option(l, a, o, valued && p[1] ? p + 1 : NULL, shown) < 0)
			return -EINVAL;
		if (valued)
			break;
	}
	return 0;
}

static int take_argument(struct loader *l, const char *text)
{
	struct err e = {""};

	if (!l->program->argument)
		return usage(l, "unexpected argument \"%.200s\"", text);
	l->own++;
	if (l->program->argument(text, l->program->arg, &e) == 0)
		return 0;
	fault(l, "%s", e.text);
	return -EINVAL;
}

static int parse_args(struct loader *l, int argc, char **argv)
{
	struct args a = {argv + 1, argv + argc};
	bool options = true;
	int r = 0;

	while (a.at < a.end && r == 0 && l->action != ACTION_HELP && l->action != ACTION_VERSION) {
		const char *text = *a.at++;

		if (!options || text[0] != '-' || !text[1])
			r = take_argument(l, text);
		else if (strcmp(text, "--") == 0)
			options = false;
		else if (text[1] == '-')
			r = take_long(l, &a, text);
		else
			r = take_short(l, &a, text);
	}
	return r;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void release_values(struct conf *c)
{
	for (size_t i = 0; i < conf_vars_count; i++) {
		if (conf_vars[i].type == CONF_STRING)
			free(*(char **)((char *)c + conf_vars[i].offset));
	}
	*c = (struct conf){0};
}

static void release_settings(struct loader *l)
{
	for (size_t i = 0; i < conf_vars_count; i++)
		free(TAKE_PTR(l->settings[i].text));
}

void conf_release(struct conf *c)
{
	release_values(c);
	release_settings(&loaded);
	free(TAKE_PTR(loaded.file));
}

/* What needs no variables. False: something else was asked for. */
static bool print_text(const struct loader *l)
{
	const struct conf_program *p = l->program;
	const struct conf_options common = {common_options, ARRAY_SIZE(common_options)};

	if (l->action == ACTION_HELP)
		conf_print_help(p, &common);
	else if (l->action == ACTION_MAN)
		conf_print_man(p, &common);
	else if (l->action == ACTION_SAMPLE)
		conf_print_sample();
	else if (l->action == ACTION_VERSION)
		printf("%s %s\n", p->name, gputel_version);
	else
		return false;
	return true;
}

/* 0: run; > 0: answered; < 0: faults. */
static int load(struct loader *l, int argc, char **argv)
{
	const struct conf_program *p = l->program;
	struct err e = {""};

	if (parse_args(l, argc, argv) < 0)
		return -EINVAL;
	if (print_text(l))
		return 1;
	load_variables(l);
	if (p->check && (l->action == ACTION_RUN || (l->action == ACTION_CHECK && l->own)) &&
	    p->check(l->conf, p->arg, &e))
		fault(l, "%s", e.text);
	if (l->faults)
		return -EINVAL;
	if (l->action == ACTION_PRINT)
		conf_print_values(p, l->settings);
	else if (l->action == ACTION_CHECK)
		printf("configuration ok\n");
	return l->action != ACTION_RUN;
}

static const char *short_name(const char *name)
{
	return strncmp(name, "gputel-", 7) == 0 ? name + 7 : name;
}

int conf_load(struct conf *c, const struct conf_program *p, int argc, char **argv)
{
	int r;

	*c = (struct conf){0};
	program = *p;
	loaded = (struct loader){.program = &program, .conf = c};
	r = load(&loaded, argc, argv);
	if (r)
		conf_release(c);
	else
		log_setup(short_name(p->name), c->service_id, (enum log_level)c->log_level,
			  (enum log_format)c->log_format);
	return r;
}

/* ---- reloading ------------------------------------------------------------------------------- */

/* Says what is new and whether it counts; not the text of a secret. */
static void tell_change(const struct conf_var *v, bool live, const char *old, const char *new)
{
	const char *when = live ? "in force now" : "a restart is needed for it";

	if (v->secret)
		log_each(LOG_LEVEL_INFO, "%s changed; %s", v->name, when);
	else
		log_each(LOG_LEVEL_INFO, "%s changed from \"%.200s\" to \"%.200s\"; %s", v->name,
			 old, new, when);
}

static void swap_settings(struct conf_setting *a, struct conf_setting *b)
{
	struct conf_setting t = *a;

	*a = *b;
	*b = t;
}

static void take_over(struct conf *c, struct loader *fresh)
{
	for (size_t i = 0; i < conf_vars_count; i++) {
		struct conf_setting *old = &loaded.settings[i], *new = &fresh->settings[i];
		bool live = conf_vars[i].live & fresh->program->bit;

		if (!known(fresh, i) || strcmp(old->text, new->text) == 0)
			continue;
		tell_change(&conf_vars[i], live, old->text, new->text);
		if (!live)
			continue;
		conf_var_take(&conf_vars[i], c, fresh->conf);
		swap_settings(old, new);
	}
	log_adjust((enum log_level)c->log_level, (enum log_format)c->log_format);
}

bool conf_reload(struct conf *c)
{
	struct conf values = {0};
	struct loader fresh = {
		.program = loaded.program, .conf = &values, .logs = true, .file = loaded.file};

	memcpy(fresh.flags, loaded.flags, sizeof(fresh.flags));
	load_variables(&fresh);
	if (fresh.faults)
		log_error("configuration not reloaded: %d fault%s", fresh.faults,
			  fresh.faults == 1 ? "" : "s");
	else
		take_over(c, &fresh);
	release_settings(&fresh);
	release_values(&values);
	return !fresh.faults;
}

static const char *or_null(const char *s)
{
	return *s ? s : NULL;
}

void conf_etcd(const struct conf *c, struct etcd_conf *ret)
{
	*ret = (struct etcd_conf){
		.endpoints = c->etcd_endpoints,
		.prefix = c->gputel_prefix,
		.dial_timeout_ms = (int)c->etcd_dial_timeout,
		.request_timeout_ms = (int)c->etcd_request_timeout,
		.max_inflight = (int)c->etcd_max_inflight,
		.native = true,
		.username = or_null(c->etcd_username),
		.password = or_null(c->etcd_password),
		.cacert = or_null(c->etcd_cacert),
		.cert = or_null(c->etcd_cert),
		.key = or_null(c->etcd_key),
		.circuit_failures = (int)c->circuit_failures,
		.circuit_open_ms = (int)c->circuit_open,
	};
}
