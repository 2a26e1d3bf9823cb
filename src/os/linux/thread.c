/*
 * thread.c - threads of gort's own. See os.h. They start with every signal blocked, so that none of
 * the program's lands on one before it has its alternate stack and mask.
 */
#include "base/fatal.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct start {
	void (*fn)(void *);
	void *arg;
};

static void *thread_main(void *arg)
{
	struct start start = *(struct start *)arg;

	os_unmap(arg, sizeof(struct start));
	start.fn(start.arg);
	return NULL;
}

int os_thread_start(os_thread *t, void (*fn)(void *), void *arg, size_t stack_size)
{
	struct start *start = os_map(sizeof *start);
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t id;
	int err;

	if (!start)
		return -ENOMEM;
	*start = (struct start){ fn, arg };
	pthread_attr_init(&attr);
	if (stack_size)
		pthread_attr_setstacksize(&attr, stack_size);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&id, &attr, thread_main, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (err) {
		os_unmap(start, sizeof *start);
		return -err;
	}
	t->handle = (uintptr_t)id;
	return 0;
}

void os_thread_join(os_thread *t)
{
	must(pthread_join((pthread_t)t->handle, NULL) == 0);
}

void os_thread_detach(os_thread *t)
{
	must(pthread_detach((pthread_t)t->handle) == 0);
}

os_thread os_thread_self(void)
{
	return (os_thread){ (uintptr_t)pthread_self() };
}

void os_thread_name(const char *name)
{
	prctl(PR_SET_NAME, name, 0, 0, 0); /* cannot fail */
}

void os_thread_timer_slack(int64_t ns)
{
	prctl(PR_SET_TIMERSLACK, (unsigned long)ns, 0, 0, 0);
}

int32_t os_thread_id(void)
{
	return (int32_t)syscall(SYS_gettid);
}

static int older; /* threads beside the first when gort was loaded */

/* The directory has a link for each, beside its own two. */
static int task_links(void)
{
	struct stat st;

	return stat("/proc/self/task", &st) < 0 ? -errno : (int)st.st_nlink - 2;
}

void os_linux_count_threads(void)
{
	int n = task_links();

	older = n > 1 ? n - 1 : 0;
}

static bool is_kernels(const char *tid)
{
	char path[64], name[8];
	ssize_t n;
	int fd;

	gort__format(path, sizeof path, "/proc/self/task/%s/comm", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true; /* it has ended */
	n = read(fd, name, sizeof name);
	close(fd);
	return n >= 4 && memcmp(name, "iou-", 4) == 0;
}

struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t size;
	uint8_t type;
	char name[];
};

static int kernels(int fd)
{
	_Alignas(8) char buffer[2048];
	int count = 0;
	long n;

	while ((n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(buffer + at);

			count += e->name[0] != '.' && is_kernels(e->name);
			at += e->size;
		}
	return count;
}

int os_threads(int most)
{
	int saved = errno, n = task_links(), fd;

	if (n >= 0)
		n -= older;
	if (n > most && (fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0) {
		n -= kernels(fd);
		close(fd);
	}
	errno = saved;
	return n;
}

static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static bool have_exit_key;

static void run_exit(void *fn)
{
	union {
		void *p;
		void (*fn)(void);
	} as = { .p = fn };

	as.fn();
}

static void make_exit_key(void)
{
	have_exit_key = pthread_key_create(&exit_key, run_exit) == 0;
}

int os_thread_on_exit(void (*fn)(void))
{
	union {
		void (*fn)(void);
		void *p;
	} as = { .fn = fn };

	pthread_once(&exit_once, make_exit_key);
	return have_exit_key ? -pthread_setspecific(exit_key, as.p) : -EAGAIN;
}
