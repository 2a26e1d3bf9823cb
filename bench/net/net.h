/*
 * net.h - what the servers and the load generator share. It knows nothing of gort.
 */
#ifndef NET_H
#define NET_H

#include <stdbool.h>
#include <stddef.h>

/* Which program speaks on stderr; set first of all. */
extern const char *program_name;

/* The program ends with status 1; errno is told by expect_call alone. */
_Noreturn void fail(const char *what);
void expect(bool right, const char *what);
int expect_call(int result, const char *what); /* gives the result; -1 is the end */

void *zeroed(size_t n, size_t size);

long parse_number(const char *text, long least, long most);

/* Room for n descriptors. Those who start as root may go over the hard limit, too. */
void raise_files(size_t n);

/* A server's first line. */
void tell_port(int port);
int listen_and_tell(void); /* on a free port of 127.0.0.1; the listener does not block */

/* Descriptors of a server that is to hold idleconn's connections. */
#define SERVER_FILES 16384

#endif
