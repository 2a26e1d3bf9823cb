/*
 * again.c - a call that our signal interrupts just as it goes to sleep is made again.
 *
 * Some calls end with EINTR whatever SA_RESTART says: sleeps, poll and its kin, reads with a
 * timeout (signal(7)). The handler finds the program counter behind the call then, the result in its
 * register, and all arguments still in theirs. Only the call's number is lost; but it stands in the
 * code before, as compilers put it there for libc: mov $number, %eax; maybe one load of an argument;
 * syscall. A timeout begins anew: nobody is asked to give way who was seen to sleep, so that is
 * late by moments. (A dump asks sleepers, too, and may make one late by as long as it has slept.)
 *
 * Which: those that have done nothing yet where they say EINTR, and of which a signal is not the
 * purpose (pause). Not close, nor connect.
 *
 * x86-64 only: on AArch64 the result takes the first argument's place. Programs see EINTR there, in
 * about one call of a hundred of those that follow a computation.
 */
#include "os/linux/linux.h"

#include <errno.h>
#include <string.h>
#include <ucontext.h>

#if defined(__x86_64__)

static bool may_be_made_again(uint32_t number)
{
	static const uint16_t calls[] = {
		0 /* read */,           1 /* write */,          7 /* poll */,
		23 /* select */,        35 /* nanosleep */,     43 /* accept */,
		44 /* sendto */,        45 /* recvfrom */,      46 /* sendmsg */,
		47 /* recvmsg */,       65 /* semop */,         69 /* msgsnd */,
		70 /* msgrcv */,        128 /* sigtimedwait */, 202 /* futex */,
		208 /* io_getevents */, 220 /* semtimedop */,   230 /* clock_nanosleep */,
		232 /* epoll_wait */,   270 /* pselect6 */,     271 /* ppoll */,
		281 /* epoll_pwait */,  288 /* accept4 */,      441 /* epoll_pwait2 */,
	};

	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
		if (calls[i] == number)
			return true;
	return false;
}

/* The number that the code before the call at pc - 2 loads, or -1. */
static int64_t number_before(const unsigned char *pc)
{
	static const unsigned char syscall[] = { 0x0f, 0x05 };
	uint32_t number;

	if (memcmp(pc - 2, syscall, 2) != 0)
		return -1;
	for (int load = 0; load <= 5; load++) { /* 0, or a mov of 3 to 5 bytes */
		const unsigned char *at = pc - 2 - load - 5;

		if (load == 1 || load == 2 || at[0] != 0xb8)
			continue;
		if (load && at[5] != 0x8b && !(at[5] == 0x48 && at[6] == 0x8b))
			continue;
		memcpy(&number, at + 1, sizeof number);
		return number;
	}
	return -1;
}

bool os_linux_call_interrupted(const void *ucontext, bool again)
{
	greg_t *r = ((ucontext_t *)(uintptr_t)ucontext)->uc_mcontext.gregs;
	int64_t number;

	if (r[REG_RAX] != -EINTR || r[REG_RCX] != r[REG_RIP]) /* as each system call leaves it */
		return false;
	number = number_before((const unsigned char *)r[REG_RIP]);
	if (number < 0 || !may_be_made_again((uint32_t)number))
		return false;
	if (again) {
		r[REG_RAX] = number;
		r[REG_RIP] -= 2;
	}
	return true;
}

#else

bool os_linux_call_interrupted(const void *ucontext, bool again)
{
	(void)ucontext;
	(void)again;
	return false;
}

#endif
