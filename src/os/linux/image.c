/*
 * image.c - which files' code is mapped, and the files themselves; writing. See os.h.
 *
 * The kernel is asked, by plain system calls: the loader's own list has a lock, which the thread that
 * hangs may hold. Files are mapped whole, so that what is read stays there when they are unloaded
 * meanwhile. One that was replaced on disk is not the one that runs: it is left out.
 */
#include "os/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LINE 8192u /* of /proc/self/maps: a path is 4096 at most */

struct lines {
	int fd;
	bool last;
	size_t at, used;
	char text[2 * LINE];
};

/* The next line, NUL-terminated; NULL: none. */
static char *next_line(struct lines *l)
{
	for (;;) {
		char *line = l->text + l->at, *end = memchr(line, '\n', l->used - l->at);
		long n;

		if (end) {
			*end = 0;
			l->at = (size_t)(end + 1 - l->text);
			return line;
		}
		memmove(l->text, line, l->used - l->at);
		l->used -= l->at;
		l->at = 0;
		if (l->last || l->used == sizeof l->text)
			return NULL;
		n = syscall(SYS_read, l->fd, l->text + l->used, sizeof l->text - l->used);
		if (n < 0 && errno == EINTR)
			continue;
		l->last = n <= 0;
		l->used += n > 0 ? (size_t)n : 0;
	}
}

static uint64_t hex(const char **at)
{
	uint64_t n = 0;

	for (;; ++*at) {
		char c = **at;

		if (c >= '0' && c <= '9')
			n = n << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			n = n << 4 | (uint64_t)(c - 'a' + 10);
		else
			return n;
	}
}

static uint64_t decimal(const char **at)
{
	uint64_t n = 0;

	for (; **at >= '0' && **at <= '9'; ++*at)
		n = n * 10 + (uint64_t)(**at - '0');
	return n;
}

/* As it was when it was mapped, by inode: on some file systems the device's number differs. */
static void map_file(struct os_image *i, const char *path, uint64_t inode)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_ino == inode && st.st_size > 0) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p != MAP_FAILED) {
			i->file = p;
			i->size = (size_t)st.st_size;
			i->mapped = true;
		}
	}
	syscall(SYS_close, fd);
}

/* "start-end rwxp offset major:minor inode   path" */
static bool parse(const char *line, struct os_image *i)
{
	const char *at = line, *name;
	uint64_t inode;

	*i = (struct os_image){ .start = hex(&at) };
	if (*at++ != '-')
		return false;
	i->end = hex(&at);
	if (strlen(at) < 6 || at[3] != 'x')
		return false;
	at += 6;
	i->offset = hex(&at);
	at += *at == ' ';
	(void)hex(&at);
	at += *at == ':';
	(void)hex(&at);
	at += *at == ' ';
	inode = decimal(&at);
	at += strspn(at, " ");
	name = strrchr(at, '/');
	strncpy(i->name, name ? name + 1 : at, sizeof i->name - 1);
	if (strcmp(at, "[vdso]") == 0) {
		i->file = (const void *)i->start;
		i->size = i->end - i->start;
	} else if (*at == '/') {
		map_file(i, at, inode);
	}
	return *at != 0;
}

int os_images_open(struct os_image *images, int most)
{
	struct lines *l = os_map(sizeof *l);
	int saved = errno, count = 0;
	char *line;

	if (!l)
		return 0;
	l->fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	while (l->fd >= 0 && count < most && (line = next_line(l)) != NULL)
		count += parse(line, &images[count]);
	if (l->fd >= 0)
		syscall(SYS_close, l->fd);
	os_unmap(l, sizeof *l);
	errno = saved;
	return count;
}

void os_images_close(struct os_image *images, int count)
{
	for (int i = 0; i < count; i++)
		if (images[i].mapped)
			os_unmap((void *)(uintptr_t)images[i].file, images[i].size);
}

int os_write_all(int fd, const void *data, size_t size)
{
	const char *at = data;
	int saved = errno, err = 0;

	while (size && err == 0) {
		long n = syscall(SYS_write, fd, at, size);
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		if (n > 0) {
			at += n;
			size -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			struct timespec second = { .tv_sec = 1 };

			err = syscall(SYS_ppoll, &p, 1L, &second, NULL, 0L) == 1 ? 0 : -EAGAIN;
		} else if (n == 0 || errno != EINTR) {
			err = n == 0 ? -EIO : -errno;
		}
	}
	errno = saved;
	return err;
}
