#include "../../streamer/url.h"

#include <unistd.h>

#include "../lib/test.h"

static void check_url(const char *text, const char *url, const char *name, const char *host)
{
	struct url a;
	struct err e = {0};

	if (!CHECK_EQ_INT(url_parse(text, &a, &e), 0)) {
		CHECK_EQ_STR(e.text, "");
		return;
	}
	CHECK_EQ_STR(a.text, url);
	CHECK_EQ_STR(a.name, name);
	CHECK_EQ_STR(a.host, host);
	url_release(&a);
}

static void check_refused(const char *text)
{
	struct url a;
	struct err e = {0};

	if (!CHECK_EQ_INT(url_parse(text, &a, &e), -EINVAL))
		url_release(&a);
	CHECK(strstr(e.text, "is not an address (expected e.g. http://node-1:9400/metrics)"));
}

TEST(an_address_without_a_path_means_metrics)
{
	check_url("http://node-1:9400", "http://node-1:9400/metrics", "http://node-1:9400/metrics",
		  "node-1");
	check_url("HTTPS://node-1/x?y=1", "HTTPS://node-1/x?y=1", "HTTPS://node-1/x?y=1", "node-1");
	check_url("http://[fe80::2]:9400/", "http://[fe80::2]:9400/", "http://[fe80::2]:9400/",
		  "fe80::2");
}

TEST(a_password_is_for_the_exporter_alone)
{
	check_url("http://u:p@ss@node-1:9400", "http://u:p@ss@node-1:9400/metrics",
		  "http://node-1:9400/metrics", "node-1");
}

TEST(the_host_of_a_loopback_address_is_this_machine)
{
	static const char *const texts[] = {"http://localhost:1/", "http://127.0.0.1/",
					    "http://[::1]:1/", "http://LOCALHOST/"};
	char own[256] = "";

	CHECK_EQ_INT(gethostname(own, sizeof(own) - 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		check_url(texts[i], texts[i], texts[i], own);
}

TEST(what_is_no_address_is_refused)
{
	check_refused("");
	check_refused("node-1:9400");
	check_refused("ftp://node-1/");
	check_refused("http://");
	check_refused("http:///metrics");
	check_refused("http://:9400/");
	check_refused("http://u:p@/x");
	check_refused("http://[::1/");
	check_refused("http://node 1/");
}
