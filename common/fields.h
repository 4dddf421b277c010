/* What the fields of a row are called where rows come in from outside: the columns of a CSV file's
 * header, the members of a JSON record. One table of names and aliases, to which the general map of
 * columns (common/maps/general.map) adds those that only CSV files have; names are compared without
 * case. */
#ifndef GPUTEL_FIELDS_H
#define GPUTEL_FIELDS_H

#include "series.h"

/* Beside those that make up the series. */
enum { FIELD_TIME = FIELD_COUNT, FIELD_VALUE, FIELD_ALL };

/* The field that a name stands for; -1: none. */
int field_find(struct slice name);
/* The first of its names, for messages: "gpu_id". */
const char *field_name(int field);
/* The i-th of its names, from 0; NULL behind the last. */
const char *field_alias(int field, size_t i);
/* No row is without it. */
bool field_needed(int field);

#endif
