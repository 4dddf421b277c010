#include "envfile.h"

#include <fcntl.h>
#include <unistd.h>

#include "strbuf.h"

#define READ_SIZE 4096

/* Where reading stands in the text, which ends with a NUL. */
struct cursor {
	const char *p;
	int line;
};

static void skip(struct cursor *c, const char *set)
{
	c->p += strspn(c->p, set);
}

static void skip_line(struct cursor *c)
{
	c->p += strcspn(c->p, "\n");
}

static char next(struct cursor *c)
{
	c->line += *c->p == '\n';
	return *c->p++;
}

static bool is_name_char(char c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z');
}

/* Takes a name and its =; -EINVAL leaves the cursor where it was. */
static int take_name(struct cursor *c, struct strbuf *name)
{
	const char *p = c->p, *end;

	while (is_name_char(*p))
		p++;
	end = p;
	p += strspn(p, " \t");
	if (end == c->p || *p != '=')
		return -EINVAL;
	strbuf_add(name, c->p, (size_t)(end - c->p));
	c->p = p + 1;
	return 0;
}

/* What follows a backslash; quote is the open quotation mark, or 0. */
static void take_escaped(struct cursor *c, char quote, struct strbuf *value)
{
	if (*c->p == '\n') {
		next(c);
		return;
	}
	if (quote == '"' && !strchr("\"\\`$", *c->p))
		strbuf_addc(value, '\\');
	if (*c->p)
		strbuf_addc(value, next(c));
}

/* Takes a value to the end of its line. Blanks at its end count only where they were quoted. */
static void take_value(struct cursor *c, struct strbuf *value)
{
	size_t keep = 0;
	char quote = 0;

	skip(c, " \t");
	while (*c->p && (quote || *c->p != '\n')) {
		char ch = next(c);

		if (ch == '\\' && quote != '\'')
			take_escaped(c, quote, value);
		else if (ch == quote)
			quote = 0;
		else if (!quote && (ch == '"' || ch == '\''))
			quote = ch;
		else
			strbuf_addc(value, ch);
		if (quote || !strchr(" \t\r", ch))
			keep = value->len;
	}
	strbuf_truncate(value, keep);
}

static void parse(const char *text, void (*fn)(const char *, const char *, int, void *), void *arg)
{
	struct cursor c = {text, 1};
	struct strbuf name, value;

	strbuf_init(&name, ENVFILE_MAX);
	strbuf_init(&value, ENVFILE_MAX);
	for (; *c.p; strbuf_reset(&name), strbuf_reset(&value)) {
		int line = c.line;

		skip(&c, " \t\r");
		if (strchr("#;\n", *c.p)) {
			skip_line(&c);
		} else if (take_name(&c, &name) == 0) {
			take_value(&c, &value);
			fn(name.s, value.s, line, arg);
		} else {
			strbuf_add(&value, c.p, strcspn(c.p, "\r\n"));
			skip_line(&c);
			fn(NULL, value.s, line, arg);
		}
		if (*c.p)
			next(&c);
	}
	strbuf_release(&name);
	strbuf_release(&value);
}

static int read_all(int fd, struct strbuf *text)
{
	ssize_t n = 1;

	while (n > 0) {
		char *to = strbuf_reserve(text, READ_SIZE);

		if (!to)
			return text->err;
		n = read(fd, to, READ_SIZE);
		if (n < 0)
			return -errno;
		text->len += (size_t)n;
	}
	strbuf_addc(text, '\0');
	return text->err;
}

int envfile_read(const char *path, void (*fn)(const char *, const char *, int, void *), void *arg,
		 struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = fd < 0 ? -errno : 0;
	struct strbuf text;

	strbuf_init(&text, ENVFILE_MAX + 2 * READ_SIZE);
	if (r == 0)
		r = read_all(fd, &text);
	if (r == 0)
		parse(text.s, fn, arg);
	else
		err_set(e, r, "%s: %s", path, strerror(-r));
	strbuf_release(&text);
	if (fd >= 0)
		close(fd);
	return r;
}
