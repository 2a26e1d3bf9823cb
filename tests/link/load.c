/*
 * load.c - for tools/link-test: a program that loads the libraries it is told of, in that order, and
 * calls work(), which one of them has.
 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	union {
		void *p;
		int (*fn)(void);
	} work;

	for (int i = 1; i < argc; i++)
		if (!dlopen(argv[i], RTLD_NOW | RTLD_GLOBAL)) {
			fprintf(stderr, "%s\n", dlerror());
			return 2;
		}
	work.p = dlsym(RTLD_DEFAULT, "work");
	if (!work.p) {
		fprintf(stderr, "there is no work()\n");
		return 2;
	}
	return work.fn();
}
