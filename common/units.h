/* Units of metrics, as nvidia-smi, DCGM and their kin write them, and what one is in another. */
#ifndef GPUTEL_UNITS_H
#define GPUTEL_UNITS_H

#include "factor.h"

/* The unit of a metric by its DCGM name ("W", "C", "MiB", "%", …), "-" if unknown. */
const char *metric_unit(const char *metric);
bool metric_is_percentage(struct slice metric);

/* How many `to` are one `from`: 1024 for GiB in MiB. Names without case; "MB" of GPU memory is MiB,
 * since that is what the tools mean that print it. False: one of them is not known, or they measure
 * different things, or the factor is no decimal. */
bool unit_factor(struct slice from, struct slice to, struct factor *ret);
/* Whether a text is a unit at all. */
bool unit_is_known(struct slice s);

#endif
