#include "options.h"

#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

void mount_options_init(struct mount_options *o)
{
	*o = (struct mount_options){
		.fsname = xstrdup("gputel"),
		.flags = MS_NOSUID | MS_NODEV,
		.uid = geteuid(),
		.gid = getegid(),
	};
}

void mount_options_release(struct mount_options *o)
{
	free(TAKE_PTR(o->source));
	free(TAKE_PTR(o->mountpoint));
	free(TAKE_PTR(o->fsname));
	hosts_release(&o->hosts);
}

static int parse_number(const char *name, const char *value, int base, unsigned long max,
			unsigned long *ret, struct err *e)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, base);
	if (*value < '0' || *value > '9' || *end || errno || n > max)
		return err_set(e, -EINVAL, "mount option %s: expected %s, got \"%s\"", name,
			       base == 8 ? "an octal mode" : "a number", value);
	*ret = n;
	return 0;
}

static int set_uid(struct mount_options *o, const char *value, struct err *e)
{
	unsigned long n = 0;
	int r = parse_number("uid", value, 10, UINT32_MAX - 1, &n, e);

	if (r == 0)
		o->uid = (uid_t)n;
	return r;
}

static int set_gid(struct mount_options *o, const char *value, struct err *e)
{
	unsigned long n = 0;
	int r = parse_number("gid", value, 10, UINT32_MAX - 1, &n, e);

	if (r == 0)
		o->gid = (gid_t)n;
	return r;
}

static int set_umask(struct mount_options *o, const char *value, struct err *e)
{
	unsigned long n = 0;
	int r = parse_number("umask", value, 8, 0777, &n, e);

	if (r == 0)
		o->umask = (mode_t)n;
	return r;
}

/* mode= speaks of files; a folder can be entered by whoever may read. */
static int set_mode(struct mount_options *o, const char *value, struct err *e)
{
	unsigned long n = 0;
	int r = parse_number("mode", value, 8, 0777, &n, e);

	if (r == 0)
		o->umask = (mode_t)(~(n | (n & 0444) >> 2) & 0777);
	return r;
}

static int set_fsname(struct mount_options *o, const char *value, struct err *e)
{
	if (*value == '\0')
		return err_set(e, -EINVAL, "mount option fsname: expected a name");
	free(o->fsname);
	o->fsname = xstrdup(value);
	return 0;
}

/* The type is fuse.gputel, so that a dead mount is known for ours. */
static int set_subtype(struct mount_options *o, const char *value, struct err *e)
{
	if (strcmp(value, "gputel"))
		return err_set(e, -EINVAL, "mount option subtype: expected gputel, got \"%s\"",
			       value);
	return 0;
}

static int set_allow_other(struct mount_options *o, const char *value, struct err *e)
{
	o->allow_other = true;
	return 0;
}

static int set_default_permissions(struct mount_options *o, const char *value, struct err *e)
{
	o->default_permissions = true;
	return 0;
}

static int set_host(struct mount_options *o, const char *value, struct err *e)
{
	int r = hosts_add(&o->hosts, value, e);

	return r < 0 ? err_prefix(e, -EINVAL, "mount option") : 0;
}

static int set_noexec(struct mount_options *o, const char *value, struct err *e)
{
	o->flags |= MS_NOEXEC;
	return 0;
}

static int set_noatime(struct mount_options *o, const char *value, struct err *e)
{
	o->flags |= MS_NOATIME;
	return 0;
}

static const struct option {
	const char *name;
	bool has_value;
	int (*set)(struct mount_options *o, const char *value, struct err *e);
} options[] = {
	{"allow_other", false, set_allow_other},
	{"default_permissions", false, set_default_permissions},
	{"uid", true, set_uid},
	{"gid", true, set_gid},
	{"umask", true, set_umask},
	{"mode", true, set_mode},
	{"fsname", true, set_fsname},
	{"host", true, set_host},
	{"subtype", true, set_subtype},
	{"noexec", false, set_noexec},
	{"noatime", false, set_noatime},
};

/* True of this mount anyway, without effect on it, or for mount(8) and systemd alone. */
static const char *const ignored[] = {
	"ro",     "rw",       "nosuid",   "suid",  "nodev",      "dev",      "exec",
	"atime",  "relatime", "diratime", "async", "norelatime", "lazytime", "strictatime",
	"sync",   "dirsync",  "defaults", "auto",  "nodiratime", "noauto",   "user",
	"nouser", "users",    "owner",    "group", "nofail",     "_netdev",
};

static bool is_ignored(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		if (!strcmp(text, ignored[i]))
			return true;
	return !strncmp(text, "x-", 2) || !strncmp(text, "X-", 2) ||
	       !strncmp(text, "comment=", 8) || !strncmp(text, "user=", 5);
}

static int set_option(struct mount_options *o, char *text, struct err *e)
{
	char *value = strchr(text, '=');

	if (*text == '\0' || is_ignored(text))
		return 0;
	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (strcmp(text, options[i].name))
			continue;
		if (options[i].has_value != (value != NULL))
			return err_set(e, -EINVAL, "mount option %s %s", text,
				       value ? "takes no value" : "needs a value");
		return options[i].set(o, value, e);
	}
	return err_set(e, -EINVAL, "unknown mount option \"%s\"", text);
}

int mount_options_parse(struct mount_options *o, const char *list, struct err *e)
{
	char *copy = xstrdup(list), *rest = copy, *item;
	int r = 0;

	while (r == 0 && (item = strsep(&rest, ",")))
		r = set_option(o, item, e);
	free(copy);
	return r;
}

int mount_options_argument(struct mount_options *o, const char *value, struct err *e)
{
	if (o->source)
		return err_set(e, -EINVAL, "too many arguments at \"%s\"", value);
	o->source = TAKE_PTR(o->mountpoint);
	o->mountpoint = xstrdup(value);
	return 0;
}
