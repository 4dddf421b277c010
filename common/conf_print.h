/* What --help and --print-config print, all of it made of the tables of options and variables. */
#ifndef GPUTEL_CONF_PRINT_H
#define GPUTEL_CONF_PRINT_H

#include "conf_table.h"

/* The options that all programs have. */
struct conf_options {
	const struct conf_option *list;
	size_t n;
};

void conf_print_help(const struct conf_program *p, const struct conf_options *common);
/* `NAME=value  # where it came from` of the program's variables; settings are in the table's order.
 * Secrets are masked. */
void conf_print_values(const struct conf_program *p, const struct conf_setting *settings);
/* A file for --config that changes nothing: every variable of every program, commented out. */
void conf_print_sample(void);
/* The sections OPTIONS and ENVIRONMENT of the program's manual page, in man(7). */
void conf_print_man(const struct conf_program *p, const struct conf_options *common);

#endif
