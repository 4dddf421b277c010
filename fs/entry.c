#include "entry.h"

#define BLOCK 512

static const struct {
	mode_t type, permissions;
} modes[] = {
	[NODE_DIR] = {S_IFDIR, 0555},
	[NODE_FILE] = {S_IFREG, 0444},
	[NODE_LINK] = {S_IFLNK, 0777},
};

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC};
}

void entry_stat(const struct entry_owner *o, const struct attr *a, struct stat *ret)
{
	mode_t permissions = modes[a->type].permissions;

	if (a->type != NODE_LINK)
		permissions &= ~o->umask;
	*ret = (struct stat){
		.st_ino = a->ino,
		.st_mode = modes[a->type].type | permissions,
		.st_nlink = a->nlink,
		.st_uid = o->uid,
		.st_gid = o->gid,
		.st_size = a->size,
		.st_blocks = (a->size + BLOCK - 1) / BLOCK,
		.st_atim = timespec_of(a->mtime_ns),
		.st_mtim = timespec_of(a->mtime_ns),
		.st_ctim = timespec_of(a->ctime_ns),
	};
}

void entry_param(const struct entry_owner *o, const struct inode *i, const struct attr *a,
		 double timeout, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){
		.ino = i->ino,
		.attr_timeout = timeout,
		.entry_timeout = i->entry_timeout,
	};
	entry_stat(o, a, &ret->attr);
}

void entry_error(fuse_req_t req, int r)
{
	static const int files_errors[] = {ENOENT, ENOTDIR, EISDIR, ESTALE,       ENOMEM,  EROFS,
					   EACCES, EINVAL,  EINTR,  ENAMETOOLONG, ENODATA, ENFILE};

	for (size_t i = 0; i < ARRAY_SIZE(files_errors); i++)
		if (r == -files_errors[i]) {
			fuse_reply_err(req, -r);
			return;
		}
	fuse_reply_err(req, EIO);
}
