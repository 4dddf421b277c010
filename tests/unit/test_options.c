#include "../lib/test.h"

#include <sys/mount.h>

#include "../../fs/options.c"

static struct mount_options o;
static struct err e;

static int parse(const char *list)
{
	mount_options_release(&o);
	mount_options_init(&o);
	e.text[0] = '\0';
	return mount_options_parse(&o, list, &e);
}

TEST(options_of_mount_and_systemd_are_ignored)
{
	CHECK_EQ_INT(
		parse("rw,ro,nofail,_netdev,user,users,user=joe,noauto,,defaults,"
		      "x-systemd.mount-timeout=30,X-mount.mkdir,comment=a,nosuid,nodev,relatime"),
		0);
	CHECK_EQ_INT((int64_t)o.flags, MS_NOSUID | MS_NODEV);
	CHECK(!o.allow_other);
	CHECK(!mount_options_restrict(&o));
}

TEST(an_unknown_option_is_named)
{
	CHECK_EQ_INT(parse("allow_other,big_writes"), -EINVAL);
	CHECK(strstr(e.text, "\"big_writes\"") != NULL);
}

TEST(a_value_that_does_not_fit_is_an_error)
{
	static const char *const lists[] = {"uid=",   "uid=joe", "uid=-1",     "uid=4294967295",
					    "gid=1x", "umask=8", "umask=1000", "mode=rw",
					    "uid",    "ro=1",    "fsname=",    "subtype=x"};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		CHECK_EQ_INT(parse(lists[i]), -EINVAL);
}

TEST(owner_and_flags_are_taken)
{
	CHECK_EQ_INT(parse("uid=7,gid=8,allow_other,noexec,noatime,fsname=a b,subtype=gputel"), 0);
	CHECK_EQ_INT(o.uid, 7);
	CHECK_EQ_INT(o.gid, 8);
	CHECK(o.allow_other);
	CHECK(o.flags & MS_NOEXEC);
	CHECK_EQ_STR(o.fsname, "a b");
	CHECK(!mount_options_restrict(&o));
}

TEST(taking_permissions_away_makes_the_kernel_check_them)
{
	CHECK_EQ_INT(parse("umask=0222"), 0);
	CHECK(!mount_options_restrict(&o));
	CHECK_EQ_INT(parse("umask=077"), 0);
	CHECK(mount_options_restrict(&o));
	CHECK_EQ_INT(parse("mode=0440"), 0);
	CHECK_EQ_INT(0555 & ~o.umask, 0550);
	CHECK_EQ_INT(0444 & ~o.umask, 0440);
	CHECK(mount_options_restrict(&o));
	CHECK_EQ_INT(parse("default_permissions"), 0);
	CHECK(mount_options_restrict(&o));
}

TEST(the_last_argument_is_the_mount_point)
{
	mount_options_release(&o);
	mount_options_init(&o);
	CHECK_EQ_INT(mount_options_argument(&o, "/m", &e), 0);
	CHECK_EQ_STR(o.mountpoint, "/m");
	CHECK_EQ_INT(mount_options_argument(&o, "/n", &e), 0);
	CHECK_EQ_STR(o.source, "/m");
	CHECK_EQ_STR(o.mountpoint, "/n");
	CHECK_EQ_INT(mount_options_argument(&o, "/x", &e), -EINVAL);
	mount_options_release(&o);
}
