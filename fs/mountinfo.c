#include "mountinfo.h"

#include <stdio.h>

/* Blank, tab, newline and backslash stand as \ooo. */
static int unescape(const char *s, size_t len, char *ret, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = s[i];

		if (c == '\\' && i + 3 < len) {
			c = (char)((s[i + 1] - '0') << 6 | (s[i + 2] - '0') << 3 |
				   (s[i + 3] - '0'));
			i += 3;
		}
		if (n + 1 >= size)
			return -EINVAL;
		ret[n++] = c;
	}
	ret[n] = '\0';
	return 0;
}

static const char *field_end(const char *s)
{
	return s + strcspn(s, " \n");
}

static const char *next_field(const char *s)
{
	s = field_end(s);
	return *s == ' ' ? s + 1 : NULL;
}

/* 36 35 98:0 /root /where rw,noatime master:1 - type source options */
int mountinfo_parse(const char *line, struct mountinfo *ret)
{
	const char *at = line, *type = strstr(line, " - ");
	int r;

	for (int i = 0; at && i < 2; i++)
		at = next_field(at);
	if (!at || !type || sscanf(at, "%u:%u ", &ret->major, &ret->minor) != 2)
		return -EINVAL;
	for (int i = 0; at && i < 2; i++)
		at = next_field(at);
	if (!at || at > type)
		return -EINVAL;
	r = unescape(at, (size_t)(field_end(at) - at), ret->path, sizeof(ret->path));
	if (r < 0)
		return r;
	type += strlen(" - ");
	return unescape(type, (size_t)(field_end(type) - type), ret->type, sizeof(ret->type));
}

int mountinfo_find(const char *path, struct mountinfo *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct mountinfo m;
	char *line = NULL;
	size_t size = 0;
	int r = -ENOENT;

	if (!f)
		return -errno;
	/* Later lines are mounted over earlier ones. */
	while (getline(&line, &size, f) > 0)
		if (mountinfo_parse(line, &m) == 0 && !strcmp(m.path, path)) {
			*ret = m;
			r = 0;
		}
	free(line);
	fclose(f);
	return r;
}
