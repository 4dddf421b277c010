#include "conf_print.h"

#include <stdio.h>

#include "strbuf.h"

#define FORM_MAX     512
#define NAME_MAX_LEN 64

static const struct {
	unsigned bit;
	const char *name;
} programs[] = {
	{CONF_STREAMER, "streamer"},
	{CONF_COLLECTOR, "collector"},
	{CONF_FS, "fs"},
	{CONF_BRIDGE, "bridge"},
};

/* As people are told: a host name is not the same everywhere. */
static const char *default_text(const struct conf_var *v, const char *nothing)
{
	if (!v->fallback)
		return "host name";
	return *v->fallback ? v->fallback : nothing;
}

/* "10ms to 10m", or nothing. */
static void form_of(const struct conf_var *v, struct strbuf *ret)
{
	strbuf_init(ret, FORM_MAX);
	conf_var_form(v, ret);
	strbuf_addc(ret, '\0');
}

/* "csv FILE", "wait[=DURATION]". */
static void option_text(const struct conf_option *o, char text[NAME_MAX_LEN])
{
	const char *arg = o->arg ? o->arg : "";

	snprintf(text, NAME_MAX_LEN, "%s%s%s", o->name, *arg && *arg != '[' ? " " : "", arg);
}

/* ---- --help ---------------------------------------------------------------------------------- */

static void help_option(const struct conf_option *o)
{
	char text[NAME_MAX_LEN];

	option_text(o, text);
	if (o->letter)
		printf("  -%c, --%-22s %s\n", o->letter, text, o->help);
	else
		printf("      --%-22s %s\n", text, o->help);
}

void conf_print_help(const struct conf_program *p, const struct conf_options *common)
{
	printf("Usage: %s %s\n\n%s\n\nOptions:\n", p->name, p->synopsis, p->about);
	for (size_t i = 0; i < p->n_options; i++)
		help_option(&p->options[i]);
	for (size_t i = 0; i < common->n; i++)
		help_option(&common->list[i]);
	printf("\nVariables, with their defaults. Each is also a flag (--etcd-endpoints VALUE)\n"
	       "and may stand in --config FILE. Precedence: flag, environment, file, default.\n"
	       "Those with a * change with the file at SIGHUP.\n");
	for (size_t i = 0; i < conf_vars_count; i++) {
		const struct conf_var *v = &conf_vars[i];

		if (v->programs & p->bit)
			printf("  %-25s%c %-15s %s\n", v->name, v->live & p->bit ? '*' : ' ',
			       default_text(v, "-"), v->help);
	}
	printf("\nExit status: 0 done, 1 failed at run time, 2 usage or configuration,\n"
	       "3 finite work cut short.\n");
}

/* ---- --print-config -------------------------------------------------------------------------- */

void conf_print_values(const struct conf_program *p, const struct conf_setting *settings)
{
	static const char *const sources[] = {"default", "file", "environment", "flag"};

	for (size_t i = 0; i < conf_vars_count; i++) {
		const struct conf_setting *s = &settings[i];

		if (!(conf_vars[i].programs & p->bit))
			continue;
		printf("%s=%s  # %s", conf_vars[i].name,
		       conf_vars[i].secret && *s->text ? "***" : s->text, sources[s->source]);
		if (s->source == CONF_FILE)
			printf(":%d", s->line);
		putchar('\n');
	}
}

static void sample_programs(const char *before, unsigned bits)
{
	printf("%s", before);
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		if (bits & programs[i].bit)
			printf(" %s", programs[i].name);
}

static void sample_about(const struct conf_var *v)
{
	struct strbuf form;

	form_of(v, &form);
	printf("# %s\n", v->help);
	sample_programs("#", v->programs);
	if (*form.s)
		printf("; %s", form.s);
	if (!v->fallback)
		printf("; default: the host name");
	if ((v->live & v->programs) == v->programs)
		printf("; SIGHUP");
	else if (v->live)
		sample_programs("; SIGHUP:", v->live);
	putchar('\n');
	strbuf_release(&form);
}

void conf_print_sample(void)
{
	printf("# Variables of the gputel programs, for --config FILE and systemd's "
	       "EnvironmentFile=.\n"
	       "# One file serves all programs. Below each text: who uses the variable, what it "
	       "may "
	       "be, and\n"
	       "# SIGHUP where a running program takes a new value over. What is commented out is "
	       "the default.\n"
	       "# Made by --print-config=sample.\n");
	for (size_t i = 0; i < conf_vars_count; i++) {
		const struct conf_var *v = &conf_vars[i];

		putchar('\n');
		sample_about(v);
		printf("#%s=%s\n", v->name, v->fallback ? v->fallback : "");
	}
}

/* ---- manual pages ---------------------------------------------------------------------------- */

/* Text at the start of a line or within one, for troff. */
static void man_text(const char *s)
{
	if (*s == '.' || *s == '\'')
		printf("\\&");
	for (; *s; s++) {
		if (*s == '\\')
			printf("\\e");
		else if (*s == '-')
			printf("\\-");
		else
			putchar(*s);
	}
}

static void man_option(const struct conf_option *o)
{
	char text[NAME_MAX_LEN];

	option_text(o, text);
	printf(".TP\n.B ");
	if (o->letter)
		printf("\\-%c\\fR, \\fB", o->letter);
	printf("\\-\\-");
	man_text(text);
	putchar('\n');
	man_text(o->help);
	printf(".\n");
}

static void man_variable(const struct conf_var *v, bool live)
{
	struct strbuf form;

	form_of(v, &form);
	printf(".TP\n.B %s\n", v->name);
	man_text(v->help);
	printf(". ");
	if (*form.s) {
		printf("Expected: ");
		man_text(form.s);
		printf(". ");
	}
	printf("Default: ");
	man_text(default_text(v, "none"));
	printf("%s.\n", live ? "; SIGHUP takes a new value over" : "");
	strbuf_release(&form);
}

void conf_print_man(const struct conf_program *p, const struct conf_options *common)
{
	printf(".SH OPTIONS\n");
	for (size_t i = 0; i < p->n_options; i++)
		man_option(&p->options[i]);
	for (size_t i = 0; i < common->n; i++)
		man_option(&common->list[i]);
	printf(".SH ENVIRONMENT\nEach variable is also a flag (ETCD_ENDPOINTS: "
	       "\\-\\-etcd\\-endpoints) and may stand in the file of\n"
	       ".BR \\-\\-config .\nA flag goes before the environment, the environment before the "
	       "file, the file before the default.\n");
	for (size_t i = 0; i < conf_vars_count; i++)
		if (conf_vars[i].programs & p->bit)
			man_variable(&conf_vars[i], conf_vars[i].live & p->bit);
}
