/*
 * signal.c - masks, alternate stacks, and the handlers of SIGSEGV and SIGBUS. See os.h.
 *
 * A fault that is not ours goes to whoever was there before, as if we were not: their flags and
 * mask are honoured. Where nobody was, the default action follows: we set it and return, and the
 * fault repeats (so the core dump shows the place); one that was sent by kill(2) would not, and is
 * sent to the thread again. The alternate stack is the one thing that they did not ask for and may
 * get.
 *
 * Who installs a handler after us may call ours from theirs. If os_faults_remove finds that, ours
 * stays behind theirs, asked nothing; a later install does not put a second one in front: the two
 * would call each other for ever.
 */
#include "base/atomic.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static const int faults[2] = { SIGSEGV, SIGBUS };
static os_fault_fn handler; /* atomic: release in os_faults_install meets acquire in on_fault */
static struct sigaction before[2]; /* written while ours is not installed, or by ours (RESETHAND) */
static enum { OUT, IN, BEHIND } place[2]; /* of ours; BEHIND: left behind another one */

void os_signals_get(sigset_t *mask)
{
	pthread_sigmask(SIG_SETMASK, NULL, mask);
	sigdelset(mask, SIGURG);
	sigdelset(mask, LINUX_SWITCH_SIGNAL);
}

void os_signals_set(const sigset_t *mask)
{
	pthread_sigmask(SIG_SETMASK, mask, NULL);
}

void os_signals_block(void)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
}

int os_altstack_enter(struct os_altstack *a)
{
	size_t page = os_page_size(), size = 2 * getauxval(AT_MINSIGSTKSZ) + (16 << 10);
	stack_t new = { 0 };

	size = size < (64 << 10) ? 64 << 10 : align_up(size, page);
	a->size = size + page; /* the lowest page is a guard */
	a->memory = os_map(a->size);
	if (!a->memory)
		return -ENOMEM;
	mprotect(a->memory, page, PROT_NONE);
	new.ss_sp = (char *)a->memory + page;
	new.ss_size = size;
	if (sigaltstack(&new, &a->before) < 0) {
		os_unmap(a->memory, a->size);
		return -ENOMEM;
	}
	return 0;
}

void os_altstack_leave(struct os_altstack *a)
{
	if (a->before.ss_flags & SS_DISABLE)
		a->before = (stack_t){ .ss_flags = SS_DISABLE };
	sigaltstack(&a->before, NULL);
	os_unmap(a->memory, a->size);
}

static void where(const ucontext_t *uc, uintptr_t *sp, uintptr_t *pc)
{
#if defined(__x86_64__)
	*sp = (uintptr_t)uc->uc_mcontext.gregs[REG_RSP];
	*pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#else
	*sp = (uintptr_t)uc->uc_mcontext.sp;
	*pc = (uintptr_t)uc->uc_mcontext.pc;
#endif
}

static void default_action(int signo, const siginfo_t *info)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };

	sigaction(signo, &sa, NULL);
	if (info->si_code <= 0) /* sent by a process: it does not repeat by itself */
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signo);
}

static void call_previous(int signo, siginfo_t *info, void *context, struct sigaction *old)
{
	struct sigaction sa = *old;
	sigset_t mask;

	if (sa.sa_handler == SIG_DFL || (sa.sa_handler == SIG_IGN && info->si_code > 0)) {
		default_action(signo, info);
		return;
	}
	if (sa.sa_handler == SIG_IGN)
		return;
	if (sa.sa_flags & (int)SA_RESETHAND)
		old->sa_handler = SIG_DFL;
	mask = sa.sa_mask;
	pthread_sigmask(SIG_BLOCK, &mask, NULL); /* until the return from the signal */
	if (sa.sa_flags & SA_NODEFER) {
		sigemptyset(&mask);
		sigaddset(&mask, signo);
		pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	}
	if (sa.sa_flags & SA_SIGINFO)
		sa.sa_sigaction(signo, info, context);
	else
		sa.sa_handler(signo);
}

/* The fault that the thread sees to just now. */
static __thread const void *fault __attribute__((tls_model("initial-exec")));

bool os_fault_context(struct os_context *at)
{
	if (fault)
		os_linux_context(at, fault);
	return fault != NULL;
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	int saved = errno;
	os_fault_fn fn = load_acquire(&handler);
	uintptr_t sp, pc;

	where(context, &sp, &pc);
	fault = context;
	if (fn && info->si_code > 0 && fn((uintptr_t)info->si_addr, sp, pc, info->si_code))
		default_action(signo, info);
	else
		call_previous(signo, info, context, &before[signo == SIGBUS]);
	fault = NULL;
	errno = saved;
}

static bool is_ours(const struct sigaction *sa)
{
	return (sa->sa_flags & SA_SIGINFO) && sa->sa_sigaction == on_fault;
}

static bool is_function(const struct sigaction *sa)
{
	return (sa->sa_flags & SA_SIGINFO) ||
		(sa->sa_handler != SIG_DFL && sa->sa_handler != SIG_IGN);
}

int os_faults_install(os_fault_fn fn)
{
	struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct sigaction now;

	sigemptyset(&ours.sa_mask);
	for (int i = 0; i < 2; i++) {
		if (sigaction(faults[i], NULL, &now) < 0)
			return -errno;
		if (is_ours(&now) || (place[i] == BEHIND && is_function(&now)))
			continue;
		before[i] = now;
		if (sigaction(faults[i], &ours, NULL) < 0)
			return -errno;
		place[i] = IN;
	}
	store_release(&handler, fn);
	return 0;
}

void os_faults_remove(void)
{
	struct sigaction now;

	store_release(&handler, NULL);
	for (int i = 0; i < 2; i++) {
		if (place[i] == OUT || sigaction(faults[i], NULL, &now) < 0)
			continue;
		place[i] = is_ours(&now) ? OUT : BEHIND;
		if (place[i] == OUT)
			sigaction(faults[i], &before[i], NULL);
	}
}
