#include "heir.h"

#include <unistd.h>

#include "daemon.h"
#include "device.h"
#include "log.h"
#include "service.h"
#include "supervise.h"

#define NAME_CONNECTION "connection"
#define NAME_SAVED      "saved"

/* Whether the mount that was left can be gone on with. */
static int take_over(struct heir *h, int saved_fd, struct mountpoint *m, const char *path,
		     struct err *e)
{
	int r = saved_open(&h->saved, saved_fd, e);

	if (r == 0)
		r = mountpoint_adopt(m, path, (dev_t)saved_device(h->saved), e);
	if (r < 0)
		return r;
	r = device_resend(h->fd);
	if (r == -EINVAL)
		err_set(e, r, "the kernel is older than 6.9");
	else if (r < 0)
		err_set(e, r, "the connection has ended: %s", strerror(-r));
	return r;
}

/* Whoever uses the old mount gets errors instead of waiting for ever. */
static void give_up(struct heir *h, struct mountpoint *m, const struct err *e)
{
	log_warn("the mount that was left cannot be gone on with, mounting anew: %s", e->text);
	heir_leave_nothing();
	if (m->path)
		mountpoint_detach(m);
	mountpoint_release(m);
	m->device = 0;
	close(h->fd);
	h->fd = -1;
	saved_free(TAKE_PTR(h->saved));
}

int heir_take(struct heir *h, struct mountpoint *m, const char *path, struct err *e)
{
	int saved_fd = service_take(NAME_SAVED), r = -EINVAL;
	struct err why = {""};

	h->fd = service_take(NAME_CONNECTION);
	if (h->fd >= 0 && saved_fd >= 0)
		r = take_over(h, saved_fd, m, path, &why);
	if (h->fd >= 0 && r == 0) {
		log_info("%s: going on with the mount that was left", m->path);
		return 0;
	}
	if (h->fd >= 0 && r == -ENOENT && getenv(SUPERVISE_ENV)) {
		log_info("%s: unmounted meanwhile", path);
		return 1;
	}
	if (h->fd >= 0)
		give_up(h, m, &why);
	else if (saved_fd >= 0)
		close(saved_fd);
	return service_is_managed() ? saved_new(&h->saved, e) : 0;
}

/* ---- settling ---------------------------------------------------------------------------------
 */

/* Pages of row files go too: the last one may have been of a file that has grown since. */
static void *settle(void *arg)
{
	struct heir *h = arg;
	uint64_t *list;
	size_t n = inode_left(h->inodes, &list);

	fuse_lowlevel_notify_inval_inode(h->session, INODE_ROOT, -1, 0);
	for (size_t k = 0; k < n && !daemon_stopping(); k++) {
		struct inode *i = inode_get(h->inodes, list[k]);
		bool rows = i && i->content == CONTENT_ROWS;

		fuse_lowlevel_notify_inval_inode(h->session, list[k], rows ? 0 : -1, 0);
		inode_put(h->inodes, i);
	}
	log_info("the kernel knew %zu files and folders", n);
	free(list);
	return NULL;
}

void heir_settle(struct heir *h, struct inode_table *inodes, struct fuse_session *se)
{
	int r;

	h->inodes = inodes;
	h->session = se;
	r = pthread_create(&h->thread, NULL, settle, h);
	h->settling = r == 0;
	if (r)
		log_warn("attributes may be out of date for a while: %s", strerror(r));
}

void heir_release(struct heir *h)
{
	if (h->settling)
		pthread_join(h->thread, NULL);
	h->settling = false;
}

/* ---- leaving ----------------------------------------------------------------------------------
 */

void heir_leave(struct heir *h, const struct mountpoint *m, int fd)
{
	int r;

	if (!h->saved)
		return;
	saved_set_device(h->saved, m->device);
	r = service_store(NAME_SAVED, saved_fd(h->saved));
	if (r == 0)
		r = service_store(NAME_CONNECTION, fd);
	if (r < 0)
		log_warn("open files will not survive this daemon: %s", strerror(-r));
}

void heir_leave_nothing(void)
{
	service_discard(NAME_CONNECTION);
	service_discard(NAME_SAVED);
}
