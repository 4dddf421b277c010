/* What a program and its service manager say to each other: systemd's protocol (sd_notify(3),
 * sd_listen_fds(3)), which gputel-fs --supervise speaks from the other side.
 *
 * The manager names a datagram socket in NOTIFY_SOCKET, to which states are sent as text. It keeps
 * descriptors over the program's death (FDSTORE=1) and hands them to the next start, numbered from
 * 3 on (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES). Without a manager nothing here does anything. */
#ifndef GPUTEL_SERVICE_H
#define GPUTEL_SERVICE_H

#include "base.h"

#include <sys/types.h>

#define SERVICE_FIRST_FD 3
#define SERVICE_FDS_MAX  16
#define SERVICE_TEXT_MAX 1024 /* bytes of a state */

/* Takes over what the environment says, and takes it out of it, so that children do not believe
 * that it is for them. Before other threads exist. */
void service_init(void);

bool service_is_managed(void);
/* "READY=1", "STATUS=…", …: lines of one message. */
void service_tell(const char *state);
/* Has the manager keep a descriptor under a name; what it kept under that name is given up first.
 * 0 where there is no manager. */
int service_store(const char *name, int fd);
void service_discard(const char *name);
/* A descriptor that was handed over under this name, once; -ENOENT: none. */
int service_take(const char *name);
/* How often the manager wants to hear "WATCHDOG=1" at least; 0: it does not. */
int64_t service_watchdog_ms(void);

/* Sends one message over a datagram socket, with a descriptor where fd >= 0. 0 or -errno. */
int service_send(int socket, const char *text, int fd);
/* Receives one: text is terminated; *ret_fd is -1 without a descriptor; *ret_pid is who sent it
 * (the socket has SO_PASSCRED). -EAGAIN: nothing is there. */
int service_receive(int socket, char text[SERVICE_TEXT_MAX], int *ret_fd, pid_t *ret_pid);

#endif
