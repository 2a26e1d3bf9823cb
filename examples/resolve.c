/*
 * resolve - the addresses of all the names given, looked up at the same time.
 *
 *     resolve [--timeout SECONDS] NAME...
 *
 * A goroutine for each name, in a scope, under one deadline for all. The system's resolver blocks
 * its thread; that is the library's affair. Results come in the order of the arguments, whichever
 * was first.
 */
#include <getopt.h>
#include <gort.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
	const char *name;
	int64_t deadline;
	gort_addr *addr; /* from gort_resolve: free it */
	size_t count;
	int err;
};

/* A member of the scope. It gives 0 whatever comes out: one that fails must not end the others. */
static int look_up(void *arg)
{
	struct lookup *l = arg;

	gort_set_deadline(l->deadline); /* of this goroutine, for all that it waits for */
	l->err = gort_resolve(l->name, NULL, &l->addr, &l->count);
	return 0;
}

static int look_up_all(struct lookup *lookups, int n)
{
	gort_scope *scope = gort_scope_open(0);
	int rc = scope ? 0 : -ENOMEM, closed;

	for (int i = 0; i < n && rc == 0; i++)
		rc = gort_scope_go(scope, look_up, &lookups[i]);
	if (!scope)
		return rc;
	closed = gort_scope_close(scope); /* all have returned */
	return rc < 0 ? rc : closed;
}

static const char *reason(int err)
{
	switch (err) {
	case -ENXIO:
		return "no such name";
	case -EREMOTEIO:
		return "nobody could tell";
	case -ETIMEDOUT:
		return "no answer in time";
	case -EINVAL:
		return "not a name";
	default:
		return strerror(-err);
	}
}

static bool print(const struct lookup *l)
{
	char text[NI_MAXHOST];

	if (l->err < 0) {
		fprintf(stderr, "resolve: %s: %s\n", l->name, reason(l->err));
		return false;
	}
	for (size_t i = 0; i < l->count; i++) {
		const struct sockaddr *a = (const struct sockaddr *)&l->addr[i].addr;

		if (getnameinfo(a, l->addr[i].len, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
			printf("%s %s\n", l->name, text);
	}
	return true;
}

static const char help[] =
	"Usage: resolve [--timeout SECONDS] NAME...\n"
	"Print the addresses of each NAME, a line each. All are looked up at once.\n"
	"\n"
	"      --timeout SECONDS   give up after so long; a fraction will do (default: 10)\n"
	"      --help              print this and exit\n"
	"\n"
	"Exit status: 0 all have addresses, 1 one has none, 2 wrong usage.\n";

static _Noreturn void usage_error(void)
{
	fputs("Try 'resolve --help'.\n", stderr);
	exit(2);
}

static int64_t parse_seconds(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0 && seconds <= 1e6)) {
		fprintf(stderr, "resolve: '%s' is no number of seconds\n", text);
		usage_error();
	}
	return (int64_t)(seconds * (double)GORT_SEC);
}

static int64_t parse_options(int argc, char **argv)
{
	static const struct option known[] = { { "help", no_argument, NULL, 'h' },
					       { "timeout", required_argument, NULL, 't' },
					       { NULL, 0, NULL, 0 } };
	int64_t timeout = 10 * GORT_SEC;
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 't')
			timeout = parse_seconds(optarg);
		else if (c == 'h')
			exit(fputs(help, stdout) < 0);
		else
			usage_error();
	}
	return timeout;
}

/* 0, or 1 if one of them has no address. */
static int resolve(char **names, int n, int64_t deadline)
{
	struct lookup *lookups = calloc((size_t)n, sizeof *lookups);
	int err = lookups ? 0 : -ENOMEM, failed = 0;

	for (int i = 0; i < n && lookups; i++)
		lookups[i] = (struct lookup){ .name = names[i], .deadline = deadline };
	if (lookups)
		err = look_up_all(lookups, n);
	if (err < 0) {
		fprintf(stderr, "resolve: %s\n", strerror(-err));
		failed = 1;
	}
	for (int i = 0; i < n && lookups; i++) {
		if (err == 0 && !print(&lookups[i]))
			failed = 1;
		free(lookups[i].addr);
	}
	free(lookups);
	return failed;
}

GORT_MAIN(argc, argv)
{
	int64_t timeout = parse_options(argc, argv);
	int failed;

	if (optind == argc)
		usage_error();
	failed = resolve(argv + optind, argc - optind, gort_in(timeout));
	return fflush(stdout) == 0 ? failed : 1;
}
