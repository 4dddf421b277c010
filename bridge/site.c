/* The page at /: files of bridge/web, and Chart.js as Debian's libjs-chart.js has it, linked into
 * the program, so that it works without internet and under a policy that allows nothing but this
 * origin. */
#include <stdio.h>

#include "digest.h"
#include "handlers.h"

#define ASSET_MAX (1024 * 1024)

/* The assembler looks in bridge/web and where Debian keeps Chart.js (Makefile: ASSETS). */
#define ASSET(name, file)                                                                          \
	__asm__(".pushsection .rodata\n" #name ":\n.incbin \"" file "\"\n" #name "_end:\n"         \
		".popsection\n");                                                                  \
	extern const char name[] __attribute__((visibility("hidden"))),                            \
		name##_end[] __attribute__((visibility("hidden")))

ASSET(asset_index, "index.html");
ASSET(asset_style, "page.css");
ASSET(asset_script, "page.js");
ASSET(asset_charts, "chart.min.js");

static const struct asset {
	const char *path, *type;
	const char *start, *end;
} assets[] = {
	{"/", "text/html; charset=utf-8", asset_index, asset_index_end},
	{"/page.css", "text/css; charset=utf-8", asset_style, asset_style_end},
	{"/page.js", "text/javascript; charset=utf-8", asset_script, asset_script_end},
	{"/chart.js", "text/javascript; charset=utf-8", asset_charts, asset_charts_end},
};

static const char policy[] =
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct asset *find_asset(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(assets); i++)
		if (strcmp(assets[i].path, path) == 0)
			return &assets[i];
	return NULL;
}

void handle_site(struct request *q, struct answer *a)
{
	const struct asset *asset = find_asset(q->path);
	struct strbuf body;
	char etag[16];

	if (!asset)
		return answer_problem(a, 404, "no such page");
	snprintf(etag, sizeof(etag), "\"%08x\"",
		 crc32c(asset->start, (size_t)(asset->end - asset->start)));
	answer_header(a, "Content-Security-Policy", "%s", policy);
	answer_header(a, "Referrer-Policy", "no-referrer");
	answer_header(a, "Cache-Control", "no-cache");
	answer_header(a, "ETag", "%s", etag);
	if (request_header(q, "If-None-Match") &&
	    strcmp(request_header(q, "If-None-Match"), etag) == 0) {
		a->status = 304;
		return;
	}
	strbuf_init(&body, ASSET_MAX);
	strbuf_add(&body, asset->start, (size_t)(asset->end - asset->start));
	answer_bytes(a, asset->type, &body);
}
