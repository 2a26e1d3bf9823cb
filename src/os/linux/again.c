/*
 * again.c - a call that the signal of preemption meets just as it goes to sleep is made again.
 *
 * Sleeps, poll and its kin end with EINTR whatever SA_RESTART says (signal(7)). The handler finds the
 * program counter behind the call then, the result in its register, and all arguments still in
 * theirs. Only the call's number is lost; but it stands in the code before, as compilers put it
 * there for libc: mov $number, %eax; syscall. (Newer libcs make these calls by a function that is
 * told the number; then they end with EINTR, as on AArch64, where the result takes the first
 * argument's place.)
 *
 * The EINTR may as well be the doing of another signal, whose handler has just returned. So only those
 * calls are made again that
 *  1. end soon anyhow, by a timeout of a second at most, and
 *  2. have no signal mask of their own: who gives one waits for a signal.
 * Timeouts begin anew, where the kernel does not write back what is left (select, ppoll). That is late
 * by moments: nobody is asked to give way who was seen to sleep. A dump asks sleepers, too: so what
 * a dump interrupts is not made again.
 *
 * No code but libc's is looked at, or even read.
 */
#include "os/linux/linux.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#if defined(__x86_64__)

#define SECOND INT64_C(1000000000)
#define NOT_SOON (2 * SECOND)

static int64_t length(greg_t at)
{
	const struct timespec *t = (const struct timespec *)at;

	if (!t || t->tv_sec < 0 || t->tv_sec > 1)
		return NOT_SOON;
	return (int64_t)t->tv_sec * SECOND + t->tv_nsec;
}

static int64_t milliseconds(greg_t n)
{
	return (int)n < 0 ? NOT_SOON : (int64_t)(int)n * 1000000;
}

/* How long the call may take, in ns. */
static int64_t timeout(uint32_t number, const greg_t *r)
{
	switch (number) {
	case 7: /* poll */
		return milliseconds(r[REG_RDX]);
	case 35: /* nanosleep */
		return length(r[REG_RDI]);
	case 230: /* clock_nanosleep; with flags the time is an absolute one */
		return r[REG_RSI] ? NOT_SOON : length(r[REG_RDX]);
	case 232: /* epoll_wait */
		return milliseconds(r[REG_R10]);
	case 270: /* pselect6, of which select is made; the mask's address stands behind r9 */
		return r[REG_R9] && *(void *const *)r[REG_R9] ? NOT_SOON : length(r[REG_R8]);
	case 271: /* ppoll */
		return r[REG_R10] ? NOT_SOON : length(r[REG_RDX]);
	case 281: /* epoll_pwait, of which epoll_wait may be made */
		return r[REG_R8] ? NOT_SOON : milliseconds(r[REG_R10]);
	default:
		return NOT_SOON;
	}
}

/* The number that mov $number, %eax loads before the call that ends at pc; or -1. */
static int64_t number_before(uintptr_t pc)
{
	const unsigned char *at = (const unsigned char *)(pc - 8);
	uint32_t number;

	if (!os_in_libc(pc - 8) || !os_in_libc(pc))
		return -1;
	if ((at[0] & 0xf0) == 0x40 || at[1] != 0xb8 || at[6] != 0x0f || at[7] != 0x05)
		return -1; /* 0x4.: a prefix that makes it another register */
	memcpy(&number, at + 2, sizeof number);
	return number;
}

int64_t os_linux_call_interrupted(const void *ucontext)
{
	const greg_t *r = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;
	int64_t number;

	if (r[REG_RAX] != -EINTR || r[REG_RCX] != r[REG_RIP]) /* as each system call leaves it */
		return -1;
	number = number_before((uintptr_t)r[REG_RIP]);
	return number >= 0 && timeout((uint32_t)number, r) <= SECOND ? number : -1;
}

void os_linux_call_again(void *ucontext, int64_t number)
{
	greg_t *r = ((ucontext_t *)ucontext)->uc_mcontext.gregs;

	r[REG_RAX] = number;
	r[REG_RIP] -= 2;
}

#else

int64_t os_linux_call_interrupted(const void *ucontext)
{
	(void)ucontext;
	return -1;
}

void os_linux_call_again(void *ucontext, int64_t number)
{
	(void)ucontext;
	(void)number;
}

#endif
