/*
 * preempt.c - SIGURG, as Go uses it: harmless where nobody expects it (ignored by default), not used
 * by libc, and handed through by debuggers. See os.h.
 *
 * The handler may stop its thread for long, with the signals of the user blocked: their handlers
 * would run without a P else. sigfillset, and not all bits: libc's own signals must get through, or
 * setuid() would wait for this thread. Signals of faults must get through, too.
 *
 * Whether a thread sleeps is read from /proc/self/task/T/syscall: "running", or where it waits.
 * The file is opened anew each time: thousands of threads may block, and descriptors are the
 * program's.
 */
#include "arch/arch.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "os/linux/linux.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static os_preempt_fn handler; /* atomic: release in os_preempt_install meets acquire in on_signal */
static struct sigaction before;
static bool installed;
static __thread bool chaining __attribute__((tls_model("initial-exec"))); /* for handlers */
static struct text {
	uintptr_t low, high;
} libc_text[2], program; /* libc's, the loader's; fixed once os_preempt_install has returned */
static void (*switcher)(uintptr_t sp); /* atomic */

int64_t os_thread_cpu(int32_t tid)
{
	struct timespec ts;

	/* Its clock's number, as the kernel makes it: ~tid << 3 | CPUCLOCK_PERTHREAD | SCHED. */
	if (clock_gettime((clockid_t)(~(unsigned)tid << 3 | 6), &ts) < 0)
		return -ESRCH;
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int os_thread_asleep(int32_t tid)
{
	char path[48], text[8];
	int saved = errno, fd, result;
	ssize_t n;

	gort__format(path, sizeof path, "/proc/self/task/%d/syscall", (int64_t)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		result = -errno;
	} else {
		n = read(fd, text, sizeof text);
		result =
			n <= 0 ? -EIO : memcmp(text, "running", (size_t)n < 7 ? (size_t)n : 7) != 0;
		close(fd);
	}
	errno = saved;
	return result;
}

void os_preempt_send(int32_t tid)
{
	int saved = errno;

	syscall(SYS_tgkill, getpid(), tid, SIGURG); /* it may have ended */
	errno = saved;
}

static void on_signal(int signo, siginfo_t *info, void *uc)
{
	const ucontext_t *c = uc;
	struct os_interrupted at = { .uc = uc };
	int saved = errno;
	os_preempt_fn fn = load_acquire(&handler);
	int64_t call;

#if defined(__x86_64__)
	at.sp = (uintptr_t)c->uc_mcontext.gregs[REG_RSP];
	at.pc = (uintptr_t)c->uc_mcontext.gregs[REG_RIP];
#else
	at.sp = (uintptr_t)c->uc_mcontext.sp;
	at.pc = (uintptr_t)c->uc_mcontext.pc;
#endif
	if (os_sample_handle(info, uc)) {
		errno = saved;
		return;
	}
	call = os_linux_call_interrupted(uc);
	at.asleep = call >= 0;
	if (fn && fn(&at)) {
		if (at.asleep)
			os_linux_call_again(uc, call);
		errno = saved;
		return;
	}
	errno = saved;
	if (chaining)
		return; /* theirs stands behind ours and calls it */
	chaining = true;
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(signo, info, uc);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
		before.sa_handler(signo);
	chaining = false;
}

static bool is_ours(const struct sigaction *sa)
{
	return (sa->sa_flags & SA_SIGINFO) && sa->sa_sigaction == on_signal;
}

static struct sigaction ours(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	struct sigaction sa = { .sa_sigaction = on_signal,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		sigdelset(&sa.sa_mask, faults[i]);
	return sa;
}

/* The module's executable part that holds address. */
static void note_text(struct text *t, uintptr_t base, const ElfW(Phdr) * ph, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		if (ph[k].p_type == PT_LOAD && ph[k].p_flags & PF_X) {
			t->low = base + ph[k].p_vaddr;
			t->high = base + ph[k].p_vaddr + ph[k].p_memsz;
		}
}

static bool holds(const struct text *t, uintptr_t pc)
{
	return pc - t->low < t->high - t->low;
}

static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t known = (uintptr_t)getauxval; /* a function of libc's */
	bool first = *(bool *)arg, in_it = false;

	(void)size;
	*(bool *)arg = false;
	for (unsigned k = 0; k < info->dlpi_phnum; k++)
		in_it |= info->dlpi_phdr[k].p_type == PT_LOAD &&
			known - info->dlpi_addr - info->dlpi_phdr[k].p_vaddr <
				info->dlpi_phdr[k].p_memsz;
	if (first) /* the program, which holds libc if that is linked in */
		note_text(&program, info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum);
	else if (in_it)
		note_text(&libc_text[0], info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum);
	return 0;
}

static void find_texts(void)
{
	const ElfW(Ehdr) *loader = (const ElfW(Ehdr) *)getauxval(AT_BASE);
	bool first = true;

	dl_iterate_phdr(find_libc, &first);
	if (loader && memcmp(loader->e_ident, ELFMAG, SELFMAG) == 0)
		note_text(&libc_text[1], (uintptr_t)loader,
			  (const ElfW(Phdr) *)((const char *)loader + loader->e_phoff),
			  loader->e_phnum);
}

bool os_in_libc(uintptr_t pc)
{
	return holds(&libc_text[0], pc) || holds(&libc_text[1], pc);
}

int os_preempt_install(os_preempt_fn fn)
{
	struct sigaction sa = ours(), now;

	if (libc_text[0].low == 0 && libc_text[1].low == 0)
		find_texts();
	if (sigaction(SIGURG, NULL, &now) < 0)
		return -errno;
	if (!is_ours(&now)) { /* also if somebody has put theirs in front of ours */
		before = now;
		if (sigaction(SIGURG, &sa, NULL) < 0)
			return -errno;
		installed = true;
	}
	store_release(&handler, fn);
	return 0;
}

void os_preempt_remove(void)
{
	struct sigaction now;

	store_release(&handler, NULL);
	if (installed && sigaction(SIGURG, NULL, &now) == 0 && is_ours(&now)) {
		sigaction(SIGURG, &before, NULL);
		installed = false;
	}
}

void os_preempt_repair(void)
{
	struct sigaction sa = ours(), now;

	os_preempt_unblock();
	if (sigaction(SIGURG, NULL, &now) == 0 && !is_ours(&now)) {
		before = now;
		sigaction(SIGURG, &sa, NULL);
	}
}

static int number(int i)
{
	return i == 0 ? SIGURG : LINUX_SWITCH_SIGNAL;
}

uint32_t os_preempt_unblock(void)
{
	sigset_t set, was;
	uint32_t which = 0;

	sigemptyset(&set);
	for (int i = 0; i < 2; i++)
		sigaddset(&set, number(i));
	pthread_sigmask(SIG_UNBLOCK, &set, &was);
	for (int i = 0; i < 2; i++)
		which |= (uint32_t)sigismember(&was, number(i)) << i;
	return which;
}

void os_preempt_block(uint32_t which)
{
	sigset_t set;

	sigemptyset(&set);
	for (int i = 0; i < 2; i++)
		if (which & 1u << i)
			sigaddset(&set, number(i));
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* ---- by switching ----------------------------------------------------------------------------- */

/* sigreturn sets the thread's alternate stack as the frame says: it must be this thread's. And errno
 * is this thread's now: its address is asked for anew. */
static void on_switch(int signo, siginfo_t *info, void *uc)
{
	int saved = *gort_errno_location();
	stack_t now;

	(void)signo;
	if (info->si_code == SI_TKILL)
		load_acquire (&switcher)((uintptr_t)__builtin_frame_address(0));
	sigaltstack(NULL, &now);
	((ucontext_t *)uc)->uc_stack = now;
	*gort_errno_location() = saved;
}

bool os_in_gort(uintptr_t pc)
{
	struct text usual = { (uintptr_t)gort__text_begin, (uintptr_t)gort__text_end };
	struct text seldom = { (uintptr_t)gort__seldom_begin, (uintptr_t)gort__seldom_end };

	return holds(&usual, pc) || holds(&seldom, pc);
}

/* Is gort's code where its bounds say? A linker of its own mind may have torn it apart. */
static bool bounds_hold(void)
{
	return os_in_gort((uintptr_t)os_switch_install) && os_in_gort((uintptr_t)os_now) &&
		os_in_gort((uintptr_t)gort_switch) && os_in_gort((uintptr_t)gort__fatal);
}

bool os_switch_usable(uintptr_t pc)
{
	return load_acquire(&switcher) && holds(&program, pc) && !os_in_gort(pc);
}

int os_switch_install(void (*fn)(uintptr_t sp))
{
	struct sigaction sa = { .sa_sigaction = on_switch,
				.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART };
	struct sigaction now;

	if (load_acquire(&switcher))
		return 0;
	if (!libc_text[0].low || !bounds_hold())
		return -ENOTSUP;
	sigemptyset(&sa.sa_mask);
	if (sigaction(LINUX_SWITCH_SIGNAL, NULL, &now) < 0)
		return -errno;
	if (now.sa_flags & SA_SIGINFO ? now.sa_sigaction != on_switch : now.sa_handler != SIG_DFL)
		return -EBUSY;
	if (sigaction(LINUX_SWITCH_SIGNAL, &sa, NULL) < 0)
		return -errno;
	store_release(&switcher, fn);
	return 0;
}

void os_switch_self(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), LINUX_SWITCH_SIGNAL);
}

size_t os_signal_frame(void)
{
	size_t least = getauxval(AT_MINSIGSTKSZ);

	return least > 2048 ? least : 2048;
}
