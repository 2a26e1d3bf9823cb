/*
 * address.c - src/io/address.h: what gort_dial and gort_listen take for an address, and addresses as
 * text. (tests/resolve.c has the names.)
 */
#include "harness.h"

#include "io/address.h"
#include "os/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define LISTEN true
#define DIAL false
#define PATH_AT offsetof(struct sockaddr_un, sun_path)

static const char *text_of(const gort_addr *a)
{
	static char text[200];
	int n = gort__address_text((const struct sockaddr *)&a->addr, a->len, text, sizeof text);

	CHECK_EQ(n, strlen(text));
	return text;
}

/* All that is found, one after the other. */
static const char *found(const char *network, const char *address, bool listening)
{
	static char all[400];
	struct addresses out;
	int err = gort__addresses(network, address, listening, &out);

	if (err < 0) {
		CHECK(err == -EINVAL || err == -ENXIO);
		strcpy(all, err == -EINVAL ? "EINVAL" : "ENXIO");
		return all;
	}
	all[0] = 0;
	for (size_t i = 0; i < out.count; i++) {
		strcat(all, i ? " " : "");
		strcat(all, text_of(&out.addr[i]));
	}
	free(out.addr);
	return all;
}

static void check_kind(const char *network, const char *address, int type, int family)
{
	struct addresses out;

	CHECK_EQ(gort__addresses(network, address, LISTEN, &out), 0);
	CHECK_EQ(out.type, type);
	CHECK_EQ(out.family, family);
	CHECK_EQ(out.count, 1);
	free(out.addr);
}

TEST_PLAIN(networks)
{
	check_kind("tcp", ":1", SOCK_STREAM, AF_UNSPEC);
	check_kind("tcp4", ":1", SOCK_STREAM, AF_INET);
	check_kind("tcp6", ":1", SOCK_STREAM, AF_INET6);
	check_kind("udp", ":1", SOCK_DGRAM, AF_UNSPEC);
	check_kind("udp4", ":1", SOCK_DGRAM, AF_INET);
	check_kind("udp6", ":1", SOCK_DGRAM, AF_INET6);
	check_kind("unix", "p", SOCK_STREAM, AF_UNIX);
	check_kind("unixgram", "p", SOCK_DGRAM, AF_UNIX);
	check_kind("unixpacket", "p", SOCK_SEQPACKET, AF_UNIX);
	CHECK_STR(found("", ":1", DIAL), "EINVAL");
	CHECK_STR(found("tcp5", ":1", DIAL), "EINVAL");
	CHECK_STR(found("TCP", ":1", DIAL), "EINVAL");
	CHECK_STR(found("unixpacket ", "p", DIAL), "EINVAL");
}

TEST_PLAIN(numbers)
{
	CHECK_STR(found("tcp", "127.0.0.1:80", DIAL), "127.0.0.1:80");
	CHECK_STR(found("tcp", "127.0.0.1:80", LISTEN), "127.0.0.1:80");
	CHECK_STR(found("udp4", "255.255.255.255:65535", DIAL), "255.255.255.255:65535");
	CHECK_STR(found("tcp", "[::1]:80", DIAL), "[::1]:80");
	CHECK_STR(found("tcp6", "[2001:DB8:0:0::1]:0", LISTEN), "[2001:db8::1]:0");
	CHECK_STR(found("tcp", "[::ffff:1.2.3.4]:5", DIAL), "[::ffff:1.2.3.4]:5");
	CHECK_STR(found("tcp", "[127.0.0.1]:80", DIAL), "127.0.0.1:80");
	CHECK_STR(found("tcp", "127.0.0.1:00080", DIAL), "127.0.0.1:80");
	CHECK_STR(found("tcp", "127.0.0.1:", DIAL), "127.0.0.1:0");
}

TEST_PLAIN(of_the_other_family)
{
	CHECK_STR(found("tcp4", "[::1]:80", DIAL), "ENXIO");
	CHECK_STR(found("udp6", "127.0.0.1:80", LISTEN), "ENXIO");
}

TEST_PLAIN(without_a_host)
{
	CHECK_STR(found("tcp", ":80", DIAL), "127.0.0.1:80 [::1]:80");
	CHECK_STR(found("udp4", ":80", DIAL), "127.0.0.1:80");
	CHECK_STR(found("tcp6", ":80", DIAL), "[::1]:80");
	CHECK_STR(found("tcp4", ":80", LISTEN), "0.0.0.0:80");
	CHECK_STR(found("udp6", ":80", LISTEN), "[::]:80");
	CHECK_STR(found("tcp", ":80", LISTEN), os_has_ipv6() ? "[::]:80" : "0.0.0.0:80");
	CHECK_STR(found("tcp", ":", LISTEN), os_has_ipv6() ? "[::]:0" : "0.0.0.0:0");
}

TEST_PLAIN(bad_text)
{
	static const char *const bad[] = {
		"",
		"80",
		"host",
		"::1",
		"::1:80",
		"a:b:c",
		"[::1]",
		"[::1]80",
		"[::1]:80:81",
		"[::1:80",
		"::1]:80",
		"[]:80",
		"[[::1]]:80",
		"a[b]:80",
		"1.2.3.4:-1",
		":+80",
		": 80",
		":65536",
		"[zz:]:80",
		"1.2.3.4%:1",
		"[::1%]:80",
		"a%lo:80",
		"[1.2%3]:4",
		":4294967376",
		"[::1%99999999999]:80",
		"[0:1:2:3:4:5:6:7:8]:80",
		":18446744073709551696",
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		for (int listening = 0; listening < 2; listening++)
			if (strcmp(found("tcp", bad[i], listening), "EINVAL") != 0)
				test_fail_(__FILE__, __LINE__, "\"%s\" is not bad", bad[i]);
}

TEST_PLAIN(text_that_is_too_long)
{
	char text[5000];

	memset(text, 'a', sizeof text);
	text[sizeof text - 1] = 0;
	CHECK_STR(found("tcp", text, DIAL), "EINVAL");
	CHECK_STR(found("unix", text, DIAL), "EINVAL");
	text[NAME_MOST + 1] = ':';
	text[NAME_MOST + 2] = 0;
	CHECK_STR(found("tcp", text, DIAL), "EINVAL");
	text[0] = ':';
	text[NAME_MOST + 1] = 'a';
	text[NAME_MOST + 2] = 0;
	CHECK_STR(found("tcp", text, DIAL), "EINVAL");
}

TEST_PLAIN(zones)
{
	char lo[IF_NAMESIZE], by_number[60], expect[60];
	struct addresses out;
	struct sockaddr_in6 a;

	if (!if_indextoname(1, lo))
		SKIP("there is no interface 1");
	snprintf(by_number, sizeof by_number, "[fe80::1%%%s]:80", lo);
	snprintf(expect, sizeof expect, "%s", by_number);
	CHECK_STR(found("tcp", by_number, DIAL), expect);
	CHECK_STR(found("tcp", "[fe80::1%1]:80", DIAL), expect);
	CHECK_STR(found("tcp", "[fe80::1%4294967295]:80", DIAL), "[fe80::1%4294967295]:80");
	CHECK_STR(found("tcp", "[fe80::1%no-such-zone]:80", DIAL), "ENXIO");
	CHECK_STR(found("tcp", "[fe80::1%no-such-zone-so-long]:80", DIAL), "ENXIO");
	CHECK_EQ(gort__addresses("udp6", "[fe80::1%1]:80", DIAL, &out), 0);
	memcpy(&a, &out.addr[0].addr, sizeof a);
	CHECK_EQ(a.sin6_scope_id, 1);
	CHECK_EQ(out.addr[0].len, sizeof a);
	free(out.addr);
}

/* ---- unix */
static gort_addr unix_of(const char *path, bool listening)
{
	struct addresses out;
	gort_addr a;

	CHECK_EQ(gort__addresses("unix", path, listening, &out), 0);
	CHECK_EQ(out.count, 1);
	a = out.addr[0];
	free(out.addr);
	return a;
}

static void check_unix(const char *path, const char *bytes, size_t n)
{
	gort_addr a = unix_of(path, DIAL);

	CHECK_EQ(a.addr.ss_family, AF_UNIX);
	CHECK_EQ(a.len, PATH_AT + n);
	CHECK(memcmp((char *)&a.addr + PATH_AT, bytes, n) == 0);
	CHECK_STR(text_of(&a), path);
}

TEST_PLAIN(unix_paths)
{
	char path[200];

	check_unix("/tmp/a", "/tmp/a", 7);
	check_unix("a:80", "a:80", 5);
	memset(path, 'p', sizeof path);
	path[107] = 0;
	check_unix(path, path, 108);
	path[107] = 'p';
	path[108] = 0;
	CHECK_STR(found("unix", path, DIAL), "EINVAL");
	CHECK_STR(found("unixgram", path, LISTEN), "EINVAL");
}

TEST_PLAIN(unix_abstract_names)
{
	char name[200];

	check_unix("@a", "\0a", 2);
	check_unix("@@", "\0@", 2);
	memset(name, 'n', sizeof name);
	name[0] = '@';
	name[108] = 0;
	CHECK_EQ(unix_of(name, DIAL).len, sizeof(struct sockaddr_un));
	CHECK_STR(found("unix", name, DIAL), name);
	name[108] = 'n';
	name[109] = 0;
	CHECK_STR(found("unix", name, LISTEN), "EINVAL");
}

/* The kernel takes the length alone for "any name". */
TEST_PLAIN(unix_without_a_name)
{
	CHECK_EQ(unix_of("@", LISTEN).len, sizeof(sa_family_t));
	CHECK_EQ(unix_of("", LISTEN).len, sizeof(sa_family_t));
	CHECK_STR(found("unix", "@", LISTEN), "");
	CHECK_STR(found("unix", "@", DIAL), "EINVAL");
	CHECK_STR(found("unixgram", "", DIAL), "EINVAL");
}

/* ---- text */
static int text(const void *a, size_t len, char *to, size_t size)
{
	return gort__address_text(a, (socklen_t)len, to, size);
}

TEST_PLAIN(text_is_cut_as_by_snprintf)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(80) };
	char to[20];

	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	for (size_t size = 0; size <= sizeof to; size++) {
		memset(to, '#', sizeof to);
		CHECK_EQ(text(&a, sizeof a, to, size), 12);
		CHECK(size == 0 || strncmp(to, "127.0.0.1:80", size - 1) == 0);
		CHECK(size == 0 || strlen(to) == (size > 12 ? 12 : size - 1));
		for (size_t i = size; i < sizeof to; i++)
			CHECK_EQ(to[i], '#');
	}
	CHECK_EQ(text(&a, sizeof a, NULL, 0), 12);
}

TEST_PLAIN(text_of_what_has_no_name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct sockaddr_storage other = { .ss_family = AF_APPLETALK };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	char to[20] = "#";

	CHECK_EQ(text(&a, sizeof(sa_family_t), to, sizeof to), 0);
	CHECK_STR(to, "");
	CHECK_EQ(text(&a, 0, to, sizeof to), 0);
	CHECK_EQ(text(&other, sizeof other, to, sizeof to), 0);
	CHECK_EQ(text(&six, sizeof six - 1, to, sizeof to), 0);
	CHECK_EQ(text(&six, sizeof six, to, sizeof to), 6);
	CHECK_STR(to, "[::]:0");
}

/* As the kernel gives them: a path without a NUL, a path with more after its NUL, NULs in names. */
TEST_PLAIN(text_of_unix_addresses)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char to[200];

	memset(a.sun_path, 'x', sizeof a.sun_path);
	CHECK_EQ(text(&a, sizeof a, to, sizeof to), 108);
	CHECK_EQ(strlen(to), 108);
	memcpy(a.sun_path, "ab\0cd", 6);
	CHECK_EQ(text(&a, sizeof a, to, sizeof to), 2);
	CHECK_STR(to, "ab");
	memcpy(a.sun_path, "\0b\0cd", 6);
	CHECK_EQ(text(&a, PATH_AT + 5, to, sizeof to), 5);
	CHECK_STR(to, "@b@cd");
}

TEST_PLAIN(longest_text)
{
	gort_addr a;
	char to[100];

	CHECK_EQ(gort__literal("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295", &a), 1);
	gort__port_set(&a, 65535);
	CHECK_EQ(gort__port(&a), 65535);
	CHECK_EQ(text(&a.addr, a.len, to, sizeof to), 58);
	CHECK_STR(to, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
}

/* ---- misuse */
TEST_PLAIN_DIES(dial_without_a_network, "gort_dial: no network")
{
	found(NULL, ":80", DIAL);
}

TEST_DIES(listen_without_an_address, "gort_listen: no address")
{
	found("tcp", NULL, LISTEN);
}
