#include "../lib/test.h"

#include "../../fs/helper.c"

static struct err e;
static char **own;

/* The arguments joined with blanks; "" for NULL. */
static char *run(int *ret, char *const *argv)
{
	static char joined[1024];
	int argc = 0;

	while (argv[argc])
		argc++;
	optind = 0;
	*ret = helper_argv(argc, (char **)argv, &own, &e);
	joined[0] = '\0';
	for (size_t i = 0; own && own[i]; i++) {
		strcat(joined, i ? " " : "");
		strcat(joined, own[i]);
	}
	helper_free(own);
	return joined;
}

#define RUN(...) run(&r, (char *const[]){(char *)"mount.gputel", __VA_ARGS__, NULL})
#define A(s)     (char *)(s)

TEST(a_helper_is_known_by_its_name)
{
	CHECK(helper_is_meant("/sbin/mount.gputel"));
	CHECK(helper_is_meant("mount.fuse.gputel"));
	CHECK(!helper_is_meant("/usr/bin/gputel-fs"));
	CHECK(!helper_is_meant("./mount.d/gputel-fs"));
	CHECK(!helper_is_meant(NULL));
}

TEST(what_mount_says_becomes_what_the_program_takes)
{
	int r;

	CHECK_EQ_STR(RUN(A("etcd:2379"), A("/mnt")), "gputel-fs -- etcd:2379 /mnt");
	CHECK_EQ_STR(RUN(A("etcd:2379"), A("/mnt"), A("-o"), A("rw,allow_other,_netdev")),
		     "gputel-fs -o rw,allow_other,_netdev -- etcd:2379 /mnt");
	CHECK_EQ_STR(RUN(A("none"), A("/mnt"), A("-sn"), A("-v"), A("-t"), A("fuse.gputel"),
			 A("-N"), A("/proc/1/ns/mnt"), A("-o"), A("ro"), A("-o"), A("noatime")),
		     "gputel-fs -o ro,noatime -- none /mnt");
	CHECK_EQ_INT(r, 0);
}

TEST(flags_of_the_program_can_stand_among_the_options)
{
	int r;

	CHECK_EQ_STR(
		RUN(A("none"), A("/mnt"), A("-o"), A("supervise,config=/etc/g.env,ro,supervise")),
		"gputel-fs --supervise --config /etc/g.env -o ro -- none /mnt");
	CHECK_EQ_STR(RUN(A("none"), A("/mnt"), A("-o"), A("supervise")),
		     "gputel-fs --supervise -- none /mnt");
	CHECK_EQ_INT(r, 0);
}

TEST(a_fake_mount_is_nothing_and_wrong_use_is_an_error)
{
	int r;

	CHECK_EQ_STR(RUN(A("none"), A("/mnt"), A("-f")), "");
	CHECK_EQ_INT(r, 0);
	CHECK_EQ_STR(RUN(A("none")), "");
	CHECK_EQ_INT(r, -EINVAL);
	CHECK_EQ_STR(RUN(A("none"), A("/mnt"), A("-x")), "");
	CHECK_EQ_INT(r, -EINVAL);
	CHECK(strstr(e.text, "-x") != NULL);
	CHECK_EQ_INT(helper_status(0), 0);
	CHECK_EQ_INT(helper_status(1), 32);
	CHECK_EQ_INT(helper_status(2), 1);
}
