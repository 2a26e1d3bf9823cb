/*
 * fork.c - see os.h.
 */
#include "os/os.h"

#include <pthread.h>

int os_fork_child(void (*fn)(void))
{
	return -pthread_atfork(NULL, NULL, fn);
}
