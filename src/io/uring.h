/*
 * uring.h - calls on regular files by io_uring, for plain.c. See uring.c.
 */
#ifndef GORT_IO_URING_H
#define GORT_IO_URING_H

#include "io/file.h"

struct uring_op {
	struct os_uring_call call; /* the first: the kernel gives its address back */
	struct uring_op *next;     /* lock */
	struct waiter w;
	bool ended; /* lock */
};

/* Park until the kernel has made op->call, on f; what, buf, n and at are the caller's. waits: for
 * gort__file_forsake. False: it has not made it, nor tried to; the caller does it some other way. */
bool gort__uring_does(struct uring_op *op, struct gort_file *f, int64_t waits, enum g_why why);

#endif
