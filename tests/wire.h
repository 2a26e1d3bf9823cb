/*
 * wire.h - a network of a test's own: a namespace with one device, at whose other end is a wire. That
 * sends each TCP packet back with its addresses exchanged: who dials FAR4 or FAR6 reaches a listener of
 * this same process, and between them the wire is slow, loses packets, or swallows all of a family's.
 *
 * What the kernel can do of that (netem, blackhole routes) is not in every kernel, nor does it tell
 * when a packet came; a TUN device is nearly everywhere.
 *
 * A thread carries the packets. How it is to do that may be changed at any time (atomics); the queues
 * are its own. The namespaces are those of the thread that calls wire_start, and of all that it makes
 * later: before the runtime starts.
 */
#ifndef GORT_TESTS_WIRE_H
#define GORT_TESTS_WIRE_H

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <arpa/inet.h>

#define NEAR4 "10.9.0.1"
#define FAR4 "10.9.0.2"
#define NEAR6 "2001:db8::1"
#define FAR6 "2001:db8::2"
#define NEAR6_LAST \
	"fd09::1" /* where IPv4 is to come first: of private addresses RFC 6724 says so */
#define FAR6_LAST "fd09::2"

enum { V4, V6, FAMILIES };
enum { PACKET_MOST = 2048, QUEUE_MOST = 1024 }; /* a full queue loses, as a router's does */

struct packet {
	int64_t due;
	size_t len;
	unsigned char data[PACKET_MOST];
};

struct wire_line {
	atomic_bool dead;              /* swallows all, silently */
	atomic_int_fast64_t delay;     /* one way */
	atomic_int syns;               /* that came, swallowed ones included */
	atomic_int_fast64_t first_syn; /* when; 0: none */
	unsigned head, count;
	struct packet queue[QUEUE_MOST];
};

static struct {
	int tun, bell;
	pthread_t thread;
	atomic_int loss; /* of 1000 packets */
	atomic_int lost;
	unsigned random;
	struct wire_line line[FAMILIES];
} wire;

/* ---- the thread */

/* Where its TCP header begins; 0: nothing for us, as what the kernel says of itself. */
static inline size_t wire_tcp(const unsigned char *p, size_t len)
{
	size_t at = p[0] >> 4 == 4 ? (size_t)(p[0] & 15) * 4 : 40;

	if (len < at + 20 || p[p[0] >> 4 == 4 ? 9 : 6] != IPPROTO_TCP)
		return 0;
	return at;
}

/* The sums stay right. */
static inline void wire_exchange(unsigned char *p)
{
	size_t at = p[0] >> 4 == 4 ? 12 : 8, size = p[0] >> 4 == 4 ? 4 : 16;
	unsigned char kept[16];

	memcpy(kept, p + at, size);
	memcpy(p + at, p + at + size, size);
	memcpy(p + at + size, kept, size);
}

static inline bool wire_loses(void)
{
	wire.random = wire.random * 1103515245 + 12345;
	if ((int)(wire.random / 65536 % 1000) >= atomic_load(&wire.loss))
		return false;
	atomic_fetch_add(&wire.lost, 1);
	return true;
}

static inline void wire_take(const unsigned char *data, size_t len)
{
	struct wire_line *l = &wire.line[data[0] >> 4 == 4 ? V4 : V6];
	size_t tcp = wire_tcp(data, len);
	int_fast64_t none = 0;
	struct packet *p;

	if (!tcp)
		return;
	if ((data[tcp + 13] & 0x12) == 2) { /* SYN, not ACK */
		atomic_compare_exchange_strong(&l->first_syn, &none, gort_now());
		atomic_fetch_add(&l->syns, 1);
	}
	if (atomic_load(&l->dead) || l->count == QUEUE_MOST || wire_loses())
		return;
	p = &l->queue[(l->head + l->count++) % QUEUE_MOST];
	p->due = gort_now() + atomic_load(&l->delay);
	p->len = len;
	memcpy(p->data, data, len);
	wire_exchange(p->data);
}

/* What is due. When the next is, or GORT_FOREVER. */
static inline int64_t wire_deliver(struct wire_line *l)
{
	for (; l->count > 0; l->count--, l->head = (l->head + 1) % QUEUE_MOST) {
		struct packet *p = &l->queue[l->head];

		if (p->due > gort_now())
			return p->due;
		(void)!write(wire.tun, p->data, p->len);
	}
	return GORT_FOREVER;
}

static inline void *wire_carry(void *arg)
{
	struct pollfd fds[2] = { { .fd = wire.tun, .events = POLLIN },
				 { .fd = wire.bell, .events = POLLIN } };
	unsigned char data[PACKET_MOST];
	int64_t next[FAMILIES], wait;
	ssize_t n;

	while (!fds[1].revents) {
		while ((n = read(wire.tun, data, sizeof data)) > 0)
			wire_take(data, (size_t)n);
		for (int i = 0; i < FAMILIES; i++)
			next[i] = wire_deliver(&wire.line[i]);
		wait = next[V4] < next[V6] ? next[V4] : next[V6];
		wait = wait == GORT_FOREVER ? -1 : (wait - gort_now()) / GORT_MS + 1;
		(void)poll(fds, 2, (int)wait);
	}
	return arg;
}

/* ---- the namespaces */

static inline void wire_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	CHECK_EQ(close(fd), 0);
}

/* Who is not root may be in a namespace of users. */
static inline void wire_become_root(void)
{
	char uids[32], gids[32];

	snprintf(uids, sizeof uids, "0 %d 1\n", (int)getuid());
	snprintf(gids, sizeof gids, "0 %d 1\n", (int)getgid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) != 0)
		SKIP("no network namespace to be had");
	wire_write("/proc/self/uid_map", uids);
	wire_write("/proc/self/setgroups", "deny"); /* or there is no map of groups */
	wire_write("/proc/self/gid_map", gids);
}

/* Ours alone, or this case is skipped. */
static inline void wire_leave_the_world(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
		wire_become_root();
	if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("gort-test", "/etc", "tmpfs", 0, NULL) != 0)
		SKIP("no /etc of its own to be had");
}

/* What names mean there: both.test has both families, the first one's is tried first. glibc knows an
 * older order, unless gai.conf says another; c-ares does not read that. */
static inline void wire_name(int first)
{
	wire_write("/etc/nsswitch.conf", "hosts: files\n");
	wire_write("/etc/host.conf", "multi on\n"); /* or a name has one address only */
	wire_write("/etc/hosts",
		   first == V6 ? FAR4 " both.test\n" FAR6 " both.test\n"
			       : FAR4 " both.test\n" FAR6_LAST " both.test\n");
	wire_write("/etc/gai.conf",
		   first == V6 ? "precedence ::/0 40\nprecedence ::ffff:0:0/96 10\n"
			       : "precedence ::/0 40\nprecedence ::ffff:0:0/96 100\n");
}

static inline void wire_up(int s, const char *name)
{
	struct ifreq r = { 0 };

	strcpy(r.ifr_name, name);
	CHECK_EQ(ioctl(s, SIOCGIFFLAGS, &r), 0);
	r.ifr_flags |= IFF_UP;
	CHECK_EQ(ioctl(s, SIOCSIFFLAGS, &r), 0);
}

static inline void wire_address4(int s, const char *name)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct ifreq r = { 0 };

	strcpy(r.ifr_name, name);
	inet_pton(AF_INET, NEAR4, &a.sin_addr);
	memcpy(&r.ifr_addr, &a, sizeof a);
	CHECK_EQ(ioctl(s, SIOCSIFADDR, &r), 0);
	inet_pton(AF_INET, "255.255.255.0", &a.sin_addr);
	memcpy(&r.ifr_netmask, &a, sizeof a);
	CHECK_EQ(ioctl(s, SIOCSIFNETMASK, &r), 0);
}

static inline void wire_address6(const char *name, const char *near)
{
	struct { /* in6_ifreq of <linux/ipv6.h>, which does not go with <netinet/in.h> */
		struct in6_addr address;
		uint32_t prefix;
		int index;
	} r = { .prefix = 64, .index = (int)if_nametoindex(name) };
	int s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		SKIP("no IPv6");
	inet_pton(AF_INET6, near, &r.address);
	if (ioctl(s, SIOCSIFADDR, &r) != 0)
		SKIP("no IPv6");
	CHECK_EQ(close(s), 0);
}

/* For a moment an address cannot be used yet, and names would be sorted as if it were not there. */
static inline void wire_await_address6(const char *near)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 };
	int s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET6, near, &a.sin6_addr);
	for (int i = 0; bind(s, (struct sockaddr *)&a, sizeof a) != 0; i++) {
		CHECK_EQ(errno, EADDRNOTAVAIL);
		CHECK(i < 10000);
		usleep(1000);
	}
	CHECK_EQ(close(s), 0);
}

static inline void wire_open(int first)
{
	const char *near6 = first == V6 ? NEAR6 : NEAR6_LAST;
	struct ifreq r = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	wire.tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (wire.tun < 0)
		SKIP("no /dev/net/tun");
	strcpy(r.ifr_name, "wire");
	if (ioctl(wire.tun, TUNSETIFF, &r) != 0)
		SKIP("no TUN device to be had");
	wire_up(s, "lo");
	wire_address4(s, "wire");
	wire_up(s, "wire");
	wire_address6("wire", near6);
	wire_await_address6(near6);
	CHECK_EQ(close(s), 0);
}

/* Names have their address of this family first. */
static inline void wire_start(int first)
{
	wire_leave_the_world();
	wire_name(first);
	wire_open(first);
	wire.random = 1;
	wire.bell = eventfd(0, EFD_CLOEXEC);
	CHECK(wire.bell >= 0);
	CHECK_EQ(pthread_create(&wire.thread, NULL, wire_carry, NULL), 0);
}

static inline void wire_stop(void)
{
	CHECK_EQ(write(wire.bell, &(uint64_t){ 1 }, sizeof(uint64_t)), sizeof(uint64_t));
	CHECK_EQ(pthread_join(wire.thread, NULL), 0);
	CHECK_EQ(close(wire.bell), 0);
	CHECK_EQ(close(wire.tun), 0);
}

static inline void wire_set_dead(int family, bool dead)
{
	atomic_store(&wire.line[family].dead, dead);
}

static inline void wire_set_delay(int family, int64_t delay)
{
	atomic_store(&wire.line[family].delay, delay);
}

static inline void wire_set_loss(int of_1000)
{
	atomic_store(&wire.loss, of_1000);
}

#endif
