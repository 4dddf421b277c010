/* What single variables demand of a value beyond its type. Each returns 0, or -EINVAL and says in e
 * what was found and what is expected; v is the value's number where it has one. Only conf_table.c
 * uses them. */
#ifndef GPUTEL_CONF_DEMAND_H
#define GPUTEL_CONF_DEMAND_H

#include "base.h"

int demand_endpoints(
	const char *text, int64_t v,
	struct err *e); /* host:port, with or without http:// or https://, comma-separated */
int demand_id(const char *text, int64_t v,
	      struct err *e); /* becomes part of keys and of log lines */
int demand_prefix(const char *text, int64_t v, struct err *e);
int demand_file(const char *text, int64_t v,
		struct err *e); /* a PEM file that can be read, or nothing */
int demand_plain_file(const char *text, int64_t v,
		      struct err *e); /* any file that can be read, or nothing */
int demand_proxies(const char *text, int64_t v,
		   struct err *e); /* addresses and networks, comma-separated */
int demand_origins(const char *text, int64_t v,
		   struct err *e); /* as browsers send them, comma-separated, or * */
int demand_rate(const char *text, int64_t v, struct err *e); /* RATE/s:BURST */
int demand_host(const char *text, int64_t v, struct err *e);
int demand_segment(const char *text, int64_t v,
		   struct err *e); /* a whole number of them is a day */

#endif
