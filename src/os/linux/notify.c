/*
 * notify.c - the handler of signals that the program wants to be told of. See os.h.
 *
 * The handler does nothing but call fn, on the alternate stack where the thread has one, and it
 * keeps errno. No signal is blocked meanwhile but itself and SIGURG: a thread that is preempted
 * waits in that one's handler, and with it whoever is to be told.
 *
 * What was there before is not called while ours is there: as in Go, who watches a signal takes
 * its place. So it does no harm if somebody who came later calls ours from theirs, and a later
 * install may go in front of them.
 *
 * SIGILL, SIGFPE, SIGTRAP and SIGSYS can be sent, and then are as any other. One that the thread
 * itself has caused is a fault: to return from the handler would repeat it for ever. It gets what
 * was there before, for good: that is put back, and the instruction done again. A trap or a system
 * call is over by then, and the signal is sent once more.
 *
 * replaced and installed are the caller's, who calls one at a time; the handler reads replaced only
 * after it has seen fn. (Names are none of other files': see sync/signal.c.)
 */
#include "base/atomic.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIGNALS 65 /* they count from 1 */

static os_notify_fn told; /* atomic: release in os_notify_install meets acquire in on_signal */
static struct sigaction replaced[SIGNALS];
static bool installed[SIGNALS];

bool os_notify_allowed(int signo)
{
	static const int ours[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGURG };

	for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
		if (signo == ours[i])
			return false;
	return signo > 0 && signo <= SIGRTMAX && signo != LINUX_SWITCH_SIGNAL &&
		(signo < 32 || signo >= SIGRTMIN); /* those between are libc's */
}

static bool is_fault(int signo, const siginfo_t *info)
{
	return info->si_code > 0 &&
		(signo == SIGILL || signo == SIGFPE || signo == SIGTRAP || signo == SIGSYS);
}

static void fault_give_back(int signo)
{
	sigaction(signo, &replaced[signo], NULL);
	if (signo == SIGTRAP || signo == SIGSYS)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signo);
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	int saved = errno;
	os_notify_fn fn = load_acquire(&told);

	(void)context;
	if (is_fault(signo, info))
		fault_give_back(signo);
	else if (fn)
		fn(signo);
	errno = saved;
}

static bool notify_is_ours(int signo)
{
	struct sigaction now;

	return sigaction(signo, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
		now.sa_sigaction == on_signal;
}

int os_notify_install(int signo, os_notify_fn fn)
{
	struct sigaction ours = { .sa_sigaction = on_signal,
				  .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigemptyset(&ours.sa_mask);
	sigaddset(&ours.sa_mask, SIGURG);
	store_release(&told, fn);
	if (notify_is_ours(signo)) {
		installed[signo] = true;
		return 0;
	}
	if (sigaction(signo, NULL, &replaced[signo]) < 0 || sigaction(signo, &ours, NULL) < 0)
		return -errno;
	installed[signo] = true;
	return 0;
}

void os_notify_remove(int signo)
{
	if (installed[signo] && notify_is_ours(signo))
		sigaction(signo, &replaced[signo], NULL);
	installed[signo] = false;
}
