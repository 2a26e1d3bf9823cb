/*
 * sample.c - where a thread is: asked by a signal (SIGURG) that carries a number, answered by its
 * handler into a slot; and SIGQUIT's handler. See os.h.
 *
 * A slot's word is {generation, phase}:
 *
 *     FREE --claim--> ASKED --handler--> WRITING --handler--> DONE --asker--> FREE, next generation
 *                       |                   |
 *                       +--late: asker      +--late: asker--> LEFT --handler--> FREE, next generation
 *
 *  1. The signal carries slot and generation. A handler that comes late fails to set WRITING, and
 *     writes nothing.
 *  2. Slots are static, so what a handler writes into is there, however late. One whose handler is
 *     stopped while it writes stays LEFT until it goes on.
 *  3. A signal that is pending already swallows another: so the question is asked again from time to
 *     time. Whoever else sends SIGURG must bear that as well.
 *
 * Callers: any thread, signal handlers.
 */
#include "base/atomic.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define SLOTS 4u
#define MARK UINT64_C(0x676f7274) /* in the value's upper half: it is ours */
#define AGAIN (10 * INT64_C(1000000))

enum { FREE, ASKED, WRITING, DONE, LEFT, PHASES = 8 };

static struct {
	uint32_t word; /* atomic: generation * PHASES + phase. acq_rel; a futex, too */
	struct os_context context;
} slots[SLOTS];

void os_linux_context(struct os_context *c, const void *ucontext)
{
	const ucontext_t *uc = ucontext;

#if defined(__x86_64__)
	static const uint8_t from[16] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
					  REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
					  REG_R12, REG_R13, REG_R14, REG_R15 };

	for (int i = 0; i < 16; i++)
		c->reg[i] = (uintptr_t)uc->uc_mcontext.gregs[from[i]];
	c->pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#else
	for (int i = 0; i < 31; i++)
		c->reg[i] = (uintptr_t)uc->uc_mcontext.regs[i];
	c->reg[31] = (uintptr_t)uc->uc_mcontext.sp;
	c->pc = (uintptr_t)uc->uc_mcontext.pc;
#endif
	c->copied = 0;
}

static uintptr_t stack_pointer(const struct os_context *c)
{
#if defined(__x86_64__)
	return c->reg[7];
#else
	return c->reg[31];
#endif
}

/* Its own thread's stack: all that is read is there, but redzones are among it. */
racy static void copy_stack(struct os_context *c)
{
	const uintptr_t *sp = (const uintptr_t *)stack_pointer(c);
	uint32_t n = 0;

	if ((uintptr_t)sp >= c->low && (uintptr_t)sp % sizeof *sp == 0)
		for (; n < OS_STACK_COPY && (uintptr_t)(sp + n + 1) <= c->high; n++)
			c->stack[n] = ((const volatile uintptr_t *)sp)[n];
	c->copied = n;
}

bool os_sample_handle(const siginfo_t *info, const void *ucontext)
{
	uint64_t value = (uint64_t)(uintptr_t)info->si_value.sival_ptr;
	uint32_t i = (uint32_t)value % PHASES, generation = (uint32_t)value / PHASES, word;

	if (info->si_code != SI_QUEUE || value >> 32 != MARK || i >= SLOTS)
		return false;
	word = generation * PHASES + ASKED;
	if (!cas_acq_rel(&slots[i].word, &word, generation * PHASES + WRITING))
		return true; /* 1 */
	os_linux_context(&slots[i].context, ucontext);
	copy_stack(&slots[i].context);
	word = generation * PHASES + WRITING;
	if (cas_acq_rel(&slots[i].word, &word, generation * PHASES + DONE))
		os_futex_wake(&slots[i].word, 1);
	else
		store_release(&slots[i].word, (generation + 1) * PHASES + FREE);
	return true;
}

static void ask(int32_t tid, uint32_t i, uint32_t generation)
{
	siginfo_t info;
	long pid = getpid();

	memset(&info, 0, sizeof info);
	info.si_code = SI_QUEUE;
	info.si_pid = (pid_t)pid;
	info.si_uid = getuid();
	info.si_value.sival_ptr = (void *)(uintptr_t)(MARK << 32 | generation * PHASES | i);
	syscall(SYS_rt_tgsigqueueinfo, pid, (long)tid, SIGURG, &info);
}

static bool claim(uint32_t *slot, uint32_t *generation)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t word = load_acquire(&slots[i].word);

		if (word % PHASES == FREE &&
		    cas_acq_rel(&slots[i].word, &word, word - FREE + LEFT)) {
			*slot = i;
			*generation = word / PHASES;
			return true;
		}
	}
	return false;
}

static bool answered(int32_t tid, uint32_t i, uint32_t generation, int64_t timeout)
{
	int64_t now = os_now(), end = now + timeout, next = now;
	uint32_t word;

	while ((word = load_acquire(&slots[i].word)) != generation * PHASES + DONE) {
		now = os_now();
		if (now >= end)
			return false;
		if (now >= next) {
			ask(tid, i, generation); /* 3 */
			next = now + AGAIN;
		}
		os_futex_wait(&slots[i].word, word, next < end ? next : end);
	}
	return true;
}

bool os_thread_sample(int32_t tid, struct os_context *out, int64_t timeout)
{
	uint32_t i, generation, word;
	int saved = errno;
	bool done;

	if (!claim(&i, &generation))
		return false;
	slots[i].context.low = out->low;
	slots[i].context.high = out->high;
	store_release(&slots[i].word, generation * PHASES + ASKED); /* meets the handler's CAS */
	done = answered(tid, i, generation, timeout);
	word = generation * PHASES + ASKED;
	if (!done && cas_acq_rel(&slots[i].word, &word, (generation + 1) * PHASES + FREE))
		goto out; /* nobody came */
	word = generation * PHASES + WRITING;
	if (!done && cas_acq_rel(&slots[i].word, &word, generation * PHASES + LEFT))
		goto out; /* 2 */
	memcpy(out, &slots[i].context,
	       offsetof(struct os_context, stack) + slots[i].context.copied * sizeof out->stack[0]);
	store_release(&slots[i].word, (generation + 1) * PHASES + FREE);
	done = true;
out:
	errno = saved;
	return done;
}

bool os_altstack_bounds(uintptr_t *low, uintptr_t *high)
{
	stack_t now;

	if (sigaltstack(NULL, &now) < 0 || !(now.ss_flags & SS_ONSTACK))
		return false;
	*low = (uintptr_t)now.ss_sp;
	*high = *low + now.ss_size;
	return true;
}

/* ---- SIGQUIT --------------------------------------------------------------------------------- */

static void (*quit_fn)(const struct os_context *at); /* atomic */
static struct sigaction quit_before;
static bool quit_in;

static void on_quit(int signo, siginfo_t *info, void *context)
{
	void (*fn)(const struct os_context *) = load_acquire(&quit_fn);
	static struct os_context at; /* too large for a stack; of the one handler that runs */
	static uint32_t busy;
	int saved = errno;

	(void)signo, (void)info;
	if (fn && swap_acquire(&busy, 1) == 0) {
		os_linux_context(&at, context);
		fn(&at);
		store_release(&busy, 0);
	}
	errno = saved;
}

int os_quit_install(void (*fn)(const struct os_context *at))
{
	struct sigaction sa = { .sa_sigaction = on_quit,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigemptyset(&sa.sa_mask);
	store_release(&quit_fn, fn); /* meets the acquire in on_quit */
	if (sigaction(SIGQUIT, &sa, &quit_before) < 0)
		return -errno;
	quit_in = true;
	return 0;
}

void os_quit_remove(void)
{
	struct sigaction now;

	store_release(&quit_fn, NULL);
	if (quit_in && sigaction(SIGQUIT, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
	    now.sa_sigaction == on_quit)
		sigaction(SIGQUIT, &quit_before, NULL);
	quit_in = false;
}
