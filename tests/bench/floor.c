/* The least that a value through FUSE can cost: a file system of one file, whose server answers and
 * does nothing else.
 *
 *	floor MOUNTPOINT [awake]
 *
 * MOUNTPOINT/value is `87\n`. It serves until it is killed, which leaves the unmounting to others.
 * awake: it never sleeps, whatever that costs.
 *
 * It says of the file what gputel-fs says of a value (direct_io, noflush, attributes that stay). It
 * makes, locks and counts nothing. What is left is the way to another process and back. */
#include "../../fs/lowlevel.h"
#include "base.h"

#include <poll.h>
#include <stdio.h>

#define VALUE_INO 2
#define KEPT_S    86400.0

static const char content[] = "87\n";

static int stat_of(fuse_ino_t ino, struct stat *ret)
{
	*ret = (struct stat){.st_ino = ino, .st_mode = S_IFDIR | 0555, .st_nlink = 2};
	if (ino == VALUE_INO) {
		ret->st_mode = S_IFREG | 0444;
		ret->st_size = sizeof(content) - 1;
		ret->st_nlink = 1;
	}
	return ino <= VALUE_INO ? 0 : ENOENT;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {
		.ino = VALUE_INO, .attr_timeout = KEPT_S, .entry_timeout = KEPT_S};

	stat_of(VALUE_INO, &e.attr);
	if (strcmp(name, "value"))
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_entry(req, &e);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int r = stat_of(ino, &st);

	if (r)
		fuse_reply_err(req, r);
	else
		fuse_reply_attr(req, &st, KEPT_S);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	size_t len = sizeof(content) - 1, at = MIN((size_t)offset, len);

	fuse_reply_buf(req, content + at, MIN(size, len - at));
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = on_lookup,
	.getattr = on_getattr,
	.open = on_open,
	.read = on_read,
};

/* As libfuse's own loop, but for the waiting. */
static int serve_awake(struct fuse_session *se)
{
	struct pollfd p = {.fd = fuse_session_fd(se), .events = POLLIN};
	struct fuse_buf buf = {0};
	int r = 0;

	while (!fuse_session_exited(se) && r >= 0) {
		if (poll(&p, 1, 0) == 0)
			continue;
		r = fuse_session_receive_buf(se, &buf);
		if (r == -EINTR)
			r = 0;
		else if (r > 0)
			fuse_session_process_buf(se, &buf);
		else
			break;
	}
	free(buf.mem);
	return r;
}

static int serve(struct fuse_session *se, const char *mountpoint, bool awake)
{
	int r;

	if (fuse_session_mount(se, mountpoint))
		return 1;
	r = awake ? serve_awake(se) : fuse_session_loop(se);
	fuse_session_unmount(se);
	return r < 0;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *se;
	bool awake = argc == 3 && !strcmp(argv[2], "awake");
	int r;

	if (argc != 2 + awake) {
		fprintf(stderr, "usage: floor MOUNTPOINT [awake]\n");
		return 2;
	}
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	r = se ? serve(se, argv[1], awake) : 1;
	if (se)
		fuse_session_destroy(se);
	return r;
}
