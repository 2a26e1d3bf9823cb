/*
 * load.c - the load generator of the network benchmarks: its command line, and what its modes
 * share. bench/run starts a server, reads its port, and runs this against it.
 */
#include "load.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

void figure(const char *name, double value, const char *unit)
{
	printf("%s %.3f %s\n", name, value, unit);
}

/* No two neighbours alike, and no period that a buffer's size could have. */
void make_message(char *message, size_t size)
{
	for (size_t i = 0; i < size; i++)
		message[i] = (char)(i * 31 + i / 251);
}

struct window window_begin(const struct load *l)
{
	return (struct window){ .cpu_start = server_cpu(l->server), .start = now() };
}

static double seconds_of(const struct window *w)
{
	return (double)(now() - w->start) / NS_PER_SEC;
}

static double cpu_of(const struct window *w, const struct load *l)
{
	return (double)(server_cpu(l->server) - w->cpu_start);
}

void window_end(const struct window *w, const struct load *l, uint64_t requests, bool by_minute)
{
	double seconds = seconds_of(w), cpu = cpu_of(w, l);

	expect(requests > 0, "no request was answered");
	figure("cpu", cpu / 1e3 / (double)requests, "us");
	figure("rate", (double)requests / seconds * (by_minute ? 60 : 1),
	       by_minute ? "/min" : "/s");
}

void window_end_bytes(const struct window *w, const struct load *l, uint64_t bytes)
{
	double seconds = seconds_of(w), cpu = cpu_of(w, l), gigabytes = (double)bytes / 1e9;

	expect(bytes > 0, "nothing was taken");
	figure("cpu", cpu / 1e6 / gigabytes, "ms/GB");
	figure("rate", gigabytes / seconds, "GB/s");
}

/* ---- connections ------------------------------------------------------------------------- */

/* An address has 28,000 ports, and one that was used rests for a minute: so they come from many. */
#define SOURCES 200

static void bind_source(int fd, int number)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int on = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(number % SOURCES));
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	expect_call(bind(fd, (struct sockaddr *)&a, sizeof a), "bind to 127.0.0.x");
}

int dial(const struct load *l, int number)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = expect_call(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"), on = 1;

	bind_source(fd, number);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons((uint16_t)l->port);
	expect_call(connect(fd, (struct sockaddr *)&a, sizeof a), "connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

/* ---- the command line --------------------------------------------------------------------- */

static const struct mode {
	const char *name;
	void (*run)(const struct load *l);
} modes[] = {
	{ "echo", load_echo },
	{ "idle", load_idle },
	{ "storm", load_storm },
	{ "stream", load_stream },
};

#define MODES (sizeof modes / sizeof modes[0])

static _Noreturn void usage(void)
{
	fputs("Usage: netload [OPTION...] MODE PORT PID\n"
	      "       netload sink\n"
	      "Loads the echo server (stream: the proxy) PID, which listens on 127.0.0.1:PORT.\n\n"
	      "  echo    on each connection message, echo, message: rate, latencies, server's CPU time\n"
	      "  idle    connections that are silent after one echo: server's memory for each\n"
	      "  storm   connections that come and go: rate, server's CPU time\n"
	      "  stream  on each connection as much as it takes: rate, server's CPU time for a GB\n"
	      "  sink    prints a port; drops what comes there, until it is killed\n\n"
	      "  -c N    connections at a time (64)\n"
	      "  -s N    bytes of a message (64)\n"
	      "  -t MS   length of the measured part (2000)\n"
	      "  -w MS   warm-up before it (500)\n",
	      stderr);
	_Exit(2);
}

static int64_t parse_ms(const char *text)
{
	return parse_number(text, 1, 3600000) * (NS_PER_SEC / 1000);
}

static struct load parse_options(int argc, char **argv)
{
	struct load l = { .connections = 64, .size = 64 };
	int option;

	l.length = parse_ms("2000");
	l.warm_up = parse_ms("500");
	while ((option = getopt(argc, argv, "c:s:t:w:")) != -1) {
		if (option == 'c')
			l.connections = (int)parse_number(optarg, 1, 1000000);
		else if (option == 's')
			l.size = (size_t)parse_number(optarg, 1, 1 << 20);
		else if (option == 't')
			l.length = parse_ms(optarg);
		else if (option == 'w')
			l.warm_up = parse_ms(optarg);
		else
			usage();
	}
	return l;
}

int main(int argc, char **argv)
{
	struct load l;

	program_name = "netload";
	l = parse_options(argc, argv);
	if (argc - optind == 1 && strcmp(argv[optind], "sink") == 0)
		serve_sink();
	if (argc - optind != 3)
		usage();
	l.port = (int)parse_number(argv[optind + 1], 1, 65535);
	l.server = (pid_t)parse_number(argv[optind + 2], 1, INT32_MAX);
	raise_files((size_t)l.connections + 100);
	for (size_t i = 0; i < MODES; i++) {
		if (strcmp(argv[optind], modes[i].name) == 0) {
			modes[i].run(&l);
			return 0;
		}
	}
	usage();
}
