/*
 * maxrss - run a command, then write its largest resident set in KiB to a file; exit with its
 * status. For treesum's tests, where time(1) may be missing.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int run(char **command)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		execvp(command[0], command);
		perror(command[0]);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("maxrss");
		return 127;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	struct rusage usage;
	FILE *to;
	int rc;

	if (argc < 3) {
		fputs("Usage: maxrss FILE COMMAND [ARGUMENT]...\n", stderr);
		return 2;
	}
	rc = run(argv + 2);
	getrusage(RUSAGE_CHILDREN, &usage);
	to = fopen(argv[1], "w");
	if (!to || fprintf(to, "%ld\n", usage.ru_maxrss) < 0 || fclose(to) != 0) {
		perror(argv[1]);
		return 127;
	}
	return rc;
}
