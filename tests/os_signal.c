/*
 * os_signal.c - os/linux/signal.c: faults go to us, to whoever was there before, or end the
 * process; alternate stacks.
 */
#include "harness.h"

#include "fiber.h"
#include "os/os.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* For cases that touch, or let the kernel touch, what nobody may. */
static void skip_under_valgrind(void)
{
#ifdef RUNNING_ON_VALGRIND
	if (RUNNING_ON_VALGRIND)
		SKIP("Valgrind reports it");
#endif
}

/* The exit status of fn in a child, as wait gives it. */
static int in_child(void (*fn)(void))
{
	struct rlimit none = { 0, 0 };
	pid_t pid = fork();
	int status = 0;

	CHECK(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		fn();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

static sigjmp_buf back;
static char *inaccessible;
static struct {
	uintptr_t address, sp, pc;
	int code, asked, called, reports;
	bool term_blocked, segv_blocked, on_altstack;
	const siginfo_t *info;
} fault;

static bool on_altstack(void)
{
	stack_t now;

	return sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_ONSTACK);
}

static bool judge(uintptr_t address, uintptr_t sp, uintptr_t pc, int code)
{
	fault.address = address;
	fault.sp = sp;
	fault.pc = pc;
	fault.code = code;
	fault.asked++;
	fault.on_altstack = on_altstack();
	return fault.reports;
}

static void previous(int signo)
{
	sigset_t mask;

	fault.called++;
	os_signals_get(&mask);
	fault.term_blocked = sigismember(&mask, SIGTERM);
	fault.segv_blocked = sigismember(&mask, signo);
	siglongjmp(back, 1);
}

static void previous_info(int signo, siginfo_t *info, void *context)
{
	fault.info = info;
	CHECK(context != NULL);
	CHECK(info->si_addr == inaccessible);
	previous(signo);
}

static void touch(void)
{
	if (sigsetjmp(back, 1) == 0)
		*(volatile char *)inaccessible = 1;
}

static void set_previous(int flags)
{
	struct sigaction sa = { .sa_flags = flags };

	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGTERM);
	if (flags & SA_SIGINFO)
		sa.sa_sigaction = previous_info;
	else
		sa.sa_handler = previous;
	CHECK_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
	CHECK_EQ(sigaction(SIGBUS, &sa, NULL), 0);
}

static void set_default(void)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

TEST_PLAIN(faults_reach_the_handler_that_was_there)
{
	static const int flags[] = { 0, SA_SIGINFO, SA_NODEFER, SA_SIGINFO | SA_ONSTACK };
	struct os_altstack alt;
	struct sigaction now;

	skip_under_valgrind();
	inaccessible = os_reserve(os_page_size());
	CHECK(inaccessible != NULL);
	CHECK_EQ(os_altstack_enter(&alt), 0);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		set_previous(flags[i]);
		memset(&fault, 0, sizeof fault);
		CHECK_EQ(os_faults_install(judge), 0);
		touch();
		CHECK_EQ(fault.asked, 1);
		CHECK_EQ(fault.called, 1);
		CHECK_EQ(fault.address, (uintptr_t)inaccessible);
		CHECK_EQ(fault.code, SEGV_ACCERR);
		CHECK(fault.pc != 0);
		CHECK(fault.sp - (uintptr_t)&now + 65536 < 131072); /* near here */
		CHECK(fault.on_altstack);
		CHECK(fault.term_blocked);
		CHECK_EQ(fault.segv_blocked, !(flags[i] & SA_NODEFER));
		CHECK_EQ(fault.info != NULL, (flags[i] & SA_SIGINFO) != 0);
		touch(); /* again and again */
		CHECK_EQ(fault.called, 2);
		os_faults_remove();
		CHECK_EQ(sigaction(SIGSEGV, NULL, &now), 0);
		CHECK(now.sa_flags & SA_SIGINFO ? now.sa_sigaction == previous_info
						: now.sa_handler == previous);
		touch();
		CHECK_EQ(fault.asked, 2);
		CHECK_EQ(fault.called, 3);
	}
	set_default();
	os_altstack_leave(&alt);
}

static struct sigaction below_user;

static void user_chains(int signo, siginfo_t *info, void *context)
{
	below_user.sa_sigaction(signo, info, context);
}

TEST_PLAIN(handlers_installed_later_may_chain_to_ours)
{
	struct sigaction user = { .sa_sigaction = user_chains,
				  .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct os_altstack alt;

	skip_under_valgrind();
	inaccessible = os_reserve(os_page_size());
	CHECK_EQ(os_altstack_enter(&alt), 0);
	set_previous(0);
	CHECK_EQ(os_faults_install(judge), 0);
	CHECK_EQ(sigaction(SIGSEGV, &user, &below_user), 0);
	for (int i = 1; i <= 3; i++) { /* it stays in the middle, and is asked while installed */
		touch();
		CHECK_EQ(fault.asked, i);
		os_faults_remove();
		touch();
		CHECK_EQ(fault.asked, i);
		CHECK_EQ(fault.called, 2 * i);
		CHECK_EQ(os_faults_install(judge), 0);
	}
	os_faults_remove();
	set_default();
	os_altstack_leave(&alt);
}

static void start_faulty(void)
{
	static struct os_altstack alt;

	inaccessible = os_reserve(os_page_size());
	if (os_altstack_enter(&alt) < 0)
		_exit(1);
	set_default();
	if (os_faults_install(judge) < 0)
		_exit(2);
}

static void fault_ours(void)
{
	start_faulty();
	fault.reports = 1;
	*(volatile char *)inaccessible = 1;
}

static void fault_nobodys(void)
{
	start_faulty();
	*(volatile char *)inaccessible = 1;
}

static void fault_sent(void)
{
	start_faulty();
	fault.reports = 1;
	kill(getpid(), SIGSEGV);
	_exit(fault.asked ? 3 : 4);
}

static void fault_once(void)
{
	set_previous((int)SA_RESETHAND);
	inaccessible = os_reserve(os_page_size());
	os_faults_install(judge);
	touch();
	if (fault.called != 1)
		_exit(5);
	touch();
}

static void sent_and_ignored(void)
{
	signal(SIGBUS, SIG_IGN);
	os_faults_install(judge);
	kill(getpid(), SIGBUS);
	_exit(6);
}

TEST_PLAIN(faults_nobody_handles_end_the_process)
{
	void (*const cases[])(void) = { fault_ours, fault_nobodys, fault_sent, fault_once };

	skip_under_valgrind();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int status = in_child(cases[i]);

		CHECK_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : 0, 0);
		CHECK(WIFSIGNALED(status));
		CHECK_EQ(WTERMSIG(status), SIGSEGV);
	}
	CHECK_EQ(WEXITSTATUS(in_child(sent_and_ignored)), 6);
}

/* May the kernel read there? Asked without a fault. */
static bool readable(const void *p)
{
	int fds[2], saved = errno;
	ssize_t n;

	CHECK_EQ(pipe(fds), 0);
	n = write(fds[1], p, 1);
	close(fds[0]);
	close(fds[1]);
	errno = saved;
	return n == 1;
}

TEST_PLAIN(alternate_stack_is_put_back)
{
	struct os_altstack outer, inner;
	stack_t before, now;

	skip_under_valgrind();
	CHECK_EQ(sigaltstack(NULL, &before), 0);
	CHECK_EQ(os_altstack_enter(&outer), 0);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_size >= 64 << 10);
	CHECK(!readable((char *)now.ss_sp - 1));
	CHECK(readable(now.ss_sp) && readable((char *)now.ss_sp + now.ss_size - 1));
	CHECK_EQ(os_altstack_enter(&inner), 0);
	os_altstack_leave(&inner);
	CHECK_EQ(sigaltstack(NULL, &inner.before), 0);
	CHECK(inner.before.ss_sp == now.ss_sp);
	os_altstack_leave(&outer);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK_EQ(now.ss_flags, before.ss_flags);
	CHECK((before.ss_flags & SS_DISABLE) || now.ss_sp == before.ss_sp);
}

/* ---- calls that the signal of preemption meets as they sleep ---------------------------------- */

static int32_t sleeper;
static uint32_t enough; /* atomic */

static bool is_for_us(const struct os_interrupted *at)
{
	(void)at;
	return true;
}

static void interrupt(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&enough, __ATOMIC_SEQ_CST)) {
		os_preempt_send(sleeper);
		usleep(5000);
	}
}

/* What it gives, while it is interrupted time and again. */
static int interrupted(int (*call)(void))
{
	struct guest *g;
	int result;

	CHECK_EQ(os_preempt_install(is_for_us), 0);
	__atomic_store_n(&enough, 0, __ATOMIC_SEQ_CST);
	sleeper = os_thread_id();
	g = guest_start(interrupt, NULL);
	errno = 0;
	result = call();
	result = result < 0 ? -errno : result;
	__atomic_store_n(&enough, 1, __ATOMIC_SEQ_CST);
	guest_join(g);
	os_preempt_remove();
	return result;
}

static const struct timespec moment = { 0, 3000000 };
static const struct timeval moment_tv = { 0, 3000 };

static int calls_nanosleep(void)
{
	return nanosleep(&moment, NULL);
}

static int calls_usleep(void)
{
	return usleep(3000);
}

static int calls_poll(void)
{
	return poll(NULL, 0, 3);
}

static int calls_ppoll(void)
{
	return ppoll(NULL, 0, &moment, NULL);
}

static int calls_select(void)
{
	struct timeval t = moment_tv;

	return select(0, NULL, NULL, NULL, &t);
}

static int calls_epoll_wait(void)
{
	struct epoll_event event;
	int fd = epoll_create1(EPOLL_CLOEXEC), result = epoll_wait(fd, &event, 1, 3), saved = errno;

	close(fd);
	errno = saved;
	return result;
}

/* Whoever gives a mask waits for a signal. */
static int calls_ppoll_for_a_signal(void)
{
	const struct timespec at_last = { 60, 0 };
	sigset_t none;

	sigemptyset(&none);
	return ppoll(NULL, 0, &at_last, &none);
}

static int calls_poll_for_long(void)
{
	return poll(NULL, 0, 60000);
}

static int calls_pause(void)
{
	return pause();
}

// not: tsan valgrind
TEST_PLAIN(calls_met_asleep_are_made_again)
{
#if !defined(__x86_64__) || !defined(__GLIBC__) || __GLIBC_PREREQ(2, 41)
	SKIP("only where the arguments of a call outlive it, and its number is found");
#endif
	for (int i = 0; i < SCALE(20); i++) {
		CHECK_EQ(interrupted(calls_nanosleep), 0);
		CHECK_EQ(interrupted(calls_usleep), 0);
		CHECK_EQ(interrupted(calls_poll), 0);
		CHECK_EQ(interrupted(calls_ppoll), 0);
		CHECK_EQ(interrupted(calls_select), 0);
		CHECK_EQ(interrupted(calls_epoll_wait), 0);
	}
}

// not: tsan
TEST_PLAIN(calls_that_wait_for_signals_end)
{
	CHECK_EQ(interrupted(calls_pause), -EINTR);
	CHECK_EQ(interrupted(calls_ppoll_for_a_signal), -EINTR);
	CHECK_EQ(interrupted(calls_poll_for_long), -EINTR);
}
