#include "../lib/test.h"

#include "../../fs/mountinfo.c"

TEST(a_line_says_device_type_and_path)
{
	struct mountinfo m;

	CHECK_EQ_INT(mountinfo_parse("36 35 98:7 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 "
				     "/dev/root rw,errors=continue\n",
				     &m),
		     0);
	CHECK_EQ_INT(m.major, 98);
	CHECK_EQ_INT(m.minor, 7);
	CHECK_EQ_STR(m.type, "ext3");
	CHECK_EQ_STR(m.path, "/mnt2");
}

TEST(a_line_without_optional_fields_is_taken)
{
	struct mountinfo m;

	CHECK_EQ_INT(mountinfo_parse("1 0 0:57 / /m rw - fuse.gputel gputel rw", &m), 0);
	CHECK_EQ_STR(m.type, "fuse.gputel");
	CHECK_EQ_STR(m.path, "/m");
}

TEST(escapes_in_paths_are_undone)
{
	struct mountinfo m;

	CHECK_EQ_INT(mountinfo_parse("1 0 0:5 / /a\\040b\\134c\\011\\012\\x rw - tmpfs t rw", &m),
		     0);
	CHECK_EQ_STR(m.path, "/a b\\c\t\n\\x");
}

TEST(other_lines_are_refused)
{
	static const char *const lines[] = {
		"", "1 2", "1 0 0:57 / /m rw", "1 0 x / /m rw - t s rw", " - a b", "1 0 0:5 - t",
	};
	struct mountinfo m;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		CHECK_EQ_INT(mountinfo_parse(lines[i], &m), -EINVAL);
}

TEST(what_is_mounted_is_found_by_its_path)
{
	struct mountinfo m;

	CHECK_EQ_INT(mountinfo_find("/proc", &m), 0);
	CHECK_EQ_STR(m.type, "proc");
	CHECK_EQ_INT(mountinfo_find("/proc/self", &m), -ENOENT);
}
