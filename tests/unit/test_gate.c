/* Who may come in, and how often: addresses, proxies, the rate limit, tokens. */
#include <stdio.h>

#include "../../bridge/limit.h"
#include "../../bridge/peer.h"
#include "../../bridge/tokens.h"
#include "../lib/test.h"
#include "digest.h"
#include "parse.h"

static struct peer peer(const char *address)
{
	struct peer p = {.port = 1};

	CHECK_EQ_INT(address_parse(slice_str(address), &p.address), 0);
	return p;
}

TEST(networks_hold_their_addresses)
{
	static const struct {
		const char *network, *address;
		bool holds;
	} cases[] = {
		{"10.0.0.0/8", "10.255.1.2", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"192.168.1.7", "192.168.1.7", true},
		{"192.168.1.7", "192.168.1.6", false},
		{"192.168.1.6/31", "192.168.1.7", true},
		{"::ffff:10.0.0.0/104", "10.1.1.1", true},
		{"fd00::/9", "fd7f::1", true},
		{"fd00::/9", "fd80::1", false},
		{"0.0.0.0/0", "1.2.3.4", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "1.2.3.4", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer p = peer(cases[i].address);
		struct cidr c;

		CHECK_EQ_INT(cidr_parse(slice_str(cases[i].network), &c), 0);
		CHECK_EQ_INT(cidr_has(&c, &p.address), cases[i].holds);
	}
}

TEST(what_is_no_network_is_refused)
{
	static const char *const bad[] = {"",          "10.0.0", "10.0.0.0/33", "::/129",
					  "10.0.0.0/", "host",   "1.2.3.4/x"};
	struct cidr c;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ_INT(cidr_parse(slice_str(bad[i]), &c), -EINVAL);
}

static void check_client(const char *proxies, const char *from, const char *forwarded,
			 const char *x_forwarded_for, const char *expected)
{
	struct proxies *x = proxies_new(proxies);
	struct peer p = peer(from), client = proxies_client(x, &p, forwarded, x_forwarded_for);
	char text[PEER_TEXT_MAX];

	peer_format(&client, text);
	CHECK_EQ_STR(text, expected);
	proxies_free(x);
}

TEST(the_client_is_the_last_hop_that_is_no_trusted_proxy)
{
	check_client("", "10.0.0.1", "for=1.2.3.4", NULL, "10.0.0.1");
	check_client("10.0.0.0/8", "10.0.0.1", "for=1.2.3.4", NULL, "1.2.3.4");
	check_client("10.0.0.0/8", "10.0.0.1",
		     "for=9.9.9.9, for=1.2.3.4;proto=http, by=x;For=\"10.0.0.2:80\"", NULL,
		     "1.2.3.4");
	check_client("10.0.0.0/8", "10.0.0.1", "for=\"[2001:db8::7]:4711\"", NULL, "2001:db8::7");
	check_client("10.0.0.0/8", "10.0.0.1", "for=unknown", NULL, "10.0.0.1");
	check_client("10.0.0.0/8", "10.0.0.1", NULL, " 8.8.8.8 , 1.2.3.4,10.0.0.3", "1.2.3.4");
	check_client("10.0.0.0/8", "10.0.0.1", NULL, "10.0.0.5, 10.0.0.3", "10.0.0.5");
	check_client("10.0.0.0/8", "10.0.0.1", NULL, NULL, "10.0.0.1");
	check_client("10.0.0.0/8", "10.0.0.1", "", NULL, "10.0.0.1");
}

TEST(rates_have_a_burst)
{
	static const char *const bad[] = {
		"", "5", "5/m", "/s", "5/s:", "5/s:0", "0/s", "-1/s", "5/s:x"};
	int64_t rate = -1, burst = -1;

	CHECK_EQ_INT(parse_rate(SLICE_LIT("100/s:200"), &rate, &burst), 0);
	CHECK(rate == 100 && burst == 200);
	CHECK_EQ_INT(parse_rate(SLICE_LIT("5/s"), &rate, &burst), 0);
	CHECK(rate == 5 && burst == 5);
	CHECK_EQ_INT(parse_rate(SLICE_LIT("0"), &rate, &burst), 0);
	CHECK(rate == 0 && burst == 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(parse_rate(slice_str(bad[i]), &rate, &burst) < 0);
}

TEST(a_client_has_its_burst_and_no_more)
{
	struct limiter *l = limiter_new(1, 3);
	struct peer a = peer("1.2.3.4"), b = peer("1.2.3.5");
	struct limit_state s;

	for (int i = 0; i < 3; i++)
		CHECK(limiter_take(l, &a, NULL, &s));
	CHECK_EQ_INT(s.left, 0);
	CHECK(!limiter_take(l, &a, NULL, &s));
	CHECK(s.retry_s >= 1);
	CHECK(limiter_take(l, &b, NULL, &s));
	CHECK_EQ_INT(s.left, 2);
	limiter_free(l);
}

TEST(the_longest_unseen_client_is_forgotten_first)
{
	struct limiter *l = limiter_new(1, 2);
	struct limit_state s;

	for (unsigned i = 0; i <= 10000; i++) {
		struct peer p = peer("9.0.0.0");

		p.address.b[14] = (uint8_t)(i >> 8);
		p.address.b[15] = (uint8_t)i;
		CHECK(limiter_take(l, &p, NULL, &s));
		CHECK_EQ_INT(s.left, 1);
	}
	limiter_free(l);
}

TEST(scopes_say_all_that_a_token_may)
{
	static const struct {
		const char *scopes;
		bool reads_all, reads_h, writes_all, writes_h, writes_any;
	} cases[] = {
		{"", true, true, true, true, true},
		{"read=*", true, true, false, false, false},
		{"write=*", false, false, true, true, true},
		{"write=h*", false, false, false, true, true},
		{"write=x read=h", false, true, false, false, true},
	};
	struct tokens *t = NULL;
	struct err e = {""};
	char text[256];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct principal *p;

		snprintf(text, sizeof(text), "n %s %s\n",
			 "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
			 cases[i].scopes);
		if (!CHECK_EQ_INT(tokens_open(&t, test_file("tokens", text), &e), 0))
			continue;
		p = tokens_find(t, SLICE_LIT("secret"));
		if (CHECK(p)) {
			CHECK_EQ_INT(principal_may_read_all(p), cases[i].reads_all);
			CHECK_EQ_INT(principal_may_read(p, "h"), cases[i].reads_h);
			CHECK_EQ_INT(principal_may_write_all(p), cases[i].writes_all);
			CHECK_EQ_INT(principal_may_write(p, "h"), cases[i].writes_h);
			CHECK_EQ_INT(principal_may_write_any(p), cases[i].writes_any);
		}
		principal_unref(p);
		tokens_close(t);
	}
}

TEST(tokens_are_found_by_their_hash)
{
	uint8_t hash[SHA256_LEN];
	char text[512], digits[2 * SHA256_LEN + 1];
	struct tokens *t = NULL;
	struct principal *p;
	struct err e = {""};

	CHECK_EQ_INT(digest_init(), 0);
	sha256("secret", 6, hash);
	hex(hash, sizeof(hash), digits);
	snprintf(text, sizeof(text), "# comment\n\n some.one\t%s  read=node-*,other\n", digits);
	if (!CHECK_EQ_INT(tokens_open(&t, test_file("tokens", text), &e), 0))
		return;
	CHECK(tokens_needed(t));
	CHECK(!tokens_find(t, SLICE_LIT("Secret")));
	CHECK(!tokens_find_bearer(t, NULL));
	CHECK(!tokens_find_bearer(t, "Basic secret"));
	p = tokens_find_bearer(t, "bearer  secret");
	if (CHECK(p)) {
		CHECK_EQ_STR(p->name, "some.one");
		CHECK(principal_may_read(p, "node-1") && principal_may_read(p, "other"));
		CHECK(!principal_may_read(p, "another") && !principal_may_read_all(p));
		CHECK(!principal_may_write_any(p) && !principal_may_write(p, "node-1"));
	}
	principal_unref(p);
	tokens_close(t);
	CHECK(principal_may_read_all(NULL) && principal_may_read(NULL, "x"));
}
