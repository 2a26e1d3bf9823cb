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

/* ---- counting them ---------------------------------------------------------------------------- */

/* An emulator's own (qemu-user has one): those beside the first when gort was loaded. Others that
 * there are then may be the program's, and call gort. */
static struct {
	int32_t tid[16];
	int count;
} older;

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

static int32_t number_of(const char *tid)
{
	int32_t n = 0;

	for (; *tid >= '0' && *tid <= '9'; tid++)
		n = n * 10 + (*tid - '0');
	return n;
}

/* How many of the process's threads fn says true of. */
static int count_threads(bool (*fn)(const char *tid))
{
	_Alignas(8) char buffer[2048];
	int count = 0, fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;

	if (fd < 0)
		return 0;
	while ((n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(buffer + at);

			count += e->name[0] != '.' && fn(e->name);
			at += e->size;
		}
	close(fd);
	return count;
}

static bool is_older(const char *tid)
{
	for (int i = 0; i < older.count; i++)
		if (older.tid[i] == number_of(tid))
			return true;
	return false;
}

static bool does_not_count(const char *tid)
{
	return is_older(tid) || is_kernels(tid);
}

static bool note_older(const char *tid)
{
	const int most = sizeof older.tid / sizeof older.tid[0];

	if (number_of(tid) != os_thread_id() && older.count < most)
		older.tid[older.count++] = number_of(tid);
	return false;
}

void os_linux_count_threads(void)
{
	char name[16] = "";

	older.count = 0;
	prctl(PR_GET_NAME, name, 0, 0, 0);
	if (memcmp(name, "qemu-", 5) == 0)
		count_threads(note_older);
}

/* The directory has a link for each, beside its own two. */
static int task_links(void)
{
	struct stat st;

	return stat("/proc/self/task", &st) < 0 ? -errno : (int)st.st_nlink - 2;
}

int os_threads(int most)
{
	int saved = errno, n = task_links();

	if (n > most)
		n -= count_threads(does_not_count);
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
