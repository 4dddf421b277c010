/* What the kernel says of this process, under the names that Prometheus' own clients use
 * (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics). For stats.c. */
#ifndef GPUTEL_STATS_PROCESS_H
#define GPUTEL_STATS_PROCESS_H

void stats_process_started(void);
void stats_process(void); /* sets the cells to what is now */

#endif
