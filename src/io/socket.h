/*
 * socket.h - sockets by their addresses, for socket.c and dial.c.
 */
#ifndef GORT_IO_SOCKET_H
#define GORT_IO_SOCKET_H

#include "io/file.h"

/* Connected, when it returns. [c] deadline: of this attempt, besides the caller's. */
int gort__connect(struct gort_file **out, const gort_addr *a, int type, int64_t deadline);
int gort__listen(struct gort_file **out, const gort_addr *a, int type,
		 const gort_listen_options *options);

#endif
