/*
 * preempt_regs.c - a goroutine that is preempted finds everything as it was: each register that the
 * processor has, its flags and control words, what lies below its stack pointer, errno, a thread-local.
 *
 * preempt_regs_<processor>.S fills the registers and spins; here are the patterns, and the comparison.
 * What is compared is bytes of an image, which both know: a place in it says which register it was.
 */
#include "harness.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

/* ---- preempt_regs_<processor>.S */
struct image {
	uint64_t general[32];
	uint64_t control[8]; /* flags, then floating-point control and status */
	uint64_t red[16];    /* x86-64: below the stack pointer */
	uint8_t x87[128];    /* ten bytes each, st(0) first */
	uint8_t masks[576];  /* AVX-512: eight bytes each; SVE: VL/8 each, the FFR last */
	uint8_t vectors[8192];
};

struct regs_job {
	_Atomic uint64_t go; /* 0: come back */
	_Atomic uint64_t left;
	uint64_t bad; /* the loop saw a wrong value in the register that it works with */
	uint64_t features;
	uint64_t sp, sp_after;
	uint64_t saved[2];
	struct image in, out;
	uint64_t random;
};

void regs_spin(struct regs_job *job);

_Static_assert(offsetof(struct regs_job, in) == 64 && sizeof(struct image) == 9344 &&
		       offsetof(struct image, vectors) == 1152,
	       "as preempt_regs_<processor>.S has them");

/* So many rounds, if nobody says stop: a failure that ends, if not soon. */
#define ROUNDS (UINT64_C(1) << 30)

static uint64_t job_random(struct regs_job *j)
{
	j->random ^= j->random << 13;
	j->random ^= j->random >> 7;
	j->random ^= j->random << 17;
	return j->random;
}

/* ---- the processor's own: which registers there are, and which values they may have; and for the
 * test of the test, how one is changed in a signal's context. Gives where in the image, or a
 * negative number: this processor has none. */
#define AT(field, n) ((long)offsetof(struct image, field) + (long)(n))
#define NONE (-1L)

#if defined(__x86_64__)

#include <cpuid.h>

enum { HAS_256 = 1, HAS_512 = 2, WORKING = 13 /* rcx */, WORKING_PAIR = 1 /* rdx */ };

static uint64_t features(void)
{
	__builtin_cpu_init();
	return (__builtin_cpu_supports("avx2") ? HAS_256 : 0u) |
		(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") ? HAS_512
											 : 0u);
}

static void make_legal(struct regs_job *j)
{
	struct image *in = &j->in;

	in->control[0] &= 0xcd5;                             /* CF PF AF ZF SF DF OF */
	in->control[1] = 0x1f80 | (in->control[1] & 0xe07f); /* nothing traps */
	in->control[2] = 0x027f | (in->control[2] & 0x0d00 & ~0x0100u);
	in->control[3] = 0; /* x87's status: eight loaded, and nothing happened */
	for (int i = 0; i < 8;
	     i++) { /* numbers: no NaN or the like, which are no trouble, but rare */
		in->x87[10 * i + 7] |= 0x80;
		in->x87[10 * i + 9] = 0x40;
	}
}

/* Where the signal's frame has a state component beyond those of SSE. */
static uint8_t *component(ucontext_t *u, unsigned which)
{
	unsigned a, b, c, d;

	__cpuid_count(0xd, which, a, b, c, d);
	(void)a, (void)c, (void)d;
	return (uint8_t *)u->uc_mcontext.fpregs + b;
}

static const int general_of[] = { REG_RAX, REG_RDX, REG_RBX, REG_RSI, REG_RDI, REG_R8,  REG_R9,
				  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RCX };

static long clobber_vector(ucontext_t *u, const struct regs_job *j, int n)
{
	fpregset_t fp = u->uc_mcontext.fpregs;

	if (n < 16) {
		fp->_xmm[n].element[0] ^= 1;
		return AT(vectors, 64 * n);
	}
	if (n < 32) {
		component(u, 2)[16 * (n - 16)] ^= 1;
		return j->features & HAS_256 ? AT(vectors, 64 * (n - 16) + 16) : NONE;
	}
	if (!(j->features & HAS_512))
		return NONE;
	if (n < 48) {
		component(u, 6)[32 * (n - 32)] ^= 1;
		return AT(vectors, 64 * (n - 32) + 32);
	}
	if (n < 64) {
		component(u, 7)[64 * (n - 48)] ^= 1;
		return AT(vectors, 64 * (n - 32));
	}
	component(u, 5)[8 * (n - 64)] ^= 1;
	return AT(masks, 8 * (n - 64));
}

#define CLOBBER_VECTORS 72

static long clobber_rest(ucontext_t *u, int n)
{
	fpregset_t fp = u->uc_mcontext.fpregs;

	switch (n) {
	case 0:
		u->uc_mcontext.gregs[REG_EFL] ^= 1;
		return AT(control[0], 0);
	case 1:
		fp->mxcsr ^= 0x2000;
		return AT(control[1], 1);
	case 2:
		fp->cwd ^= 0x0800;
		return AT(control[2], 1);
	case 3:
		fp->swd ^= 0x0100;
		return AT(control[3], 1);
	case 4:
	case 5:
		((uint8_t *)u->uc_mcontext.gregs[REG_RSP])[n == 4 ? -1 : -128] ^= 1;
		return AT(red, n == 4 ? 127 : 0);
	default:
		fp->_st[n - 6].significand[0] ^= 1;
		return AT(x87, 10 * (n - 6));
	}
}

#define CLOBBER_REST 14

static long clobber_general(ucontext_t *u, int n)
{
	u->uc_mcontext.gregs[general_of[n]] ^= 1;
	return AT(general[n], 0);
}

#define CLOBBER_GENERAL 14

#elif defined(__aarch64__)

#include <sys/auxv.h>
#include <sys/prctl.h>

#ifndef HWCAP_SVE
#define HWCAP_SVE (1 << 22)
#endif
#ifndef PR_SVE_GET_VL
#define PR_SVE_GET_VL 51
#endif

enum { WORKING = 9, WORKING_PAIR = 10 };

static uint64_t features(void)
{
	return getauxval(AT_HWCAP) & HWCAP_SVE ? 1 : 0;
}

static size_t vector_size(void)
{
	return (size_t)prctl(PR_SVE_GET_VL) & 0xffff;
}

static void make_legal(struct regs_job *j)
{
	struct image *in = &j->in;

	in->control[0] &= 0xf0000000;
	in->control[1] &= 0x07c00000; /* nothing traps */
	in->control[2] &= 0x0800009f;
	if (j->features) { /* true ones first */
		size_t p = vector_size() / 8;

		memset(in->masks + 16 * p, 0xff, p / 2);
		memset(in->masks + 16 * p + p / 2, 0, p - p / 2);
	}
}

static struct _aarch64_ctx *record(ucontext_t *u, uint32_t magic)
{
	uint8_t *at = (uint8_t *)u->uc_mcontext.__reserved;
	struct _aarch64_ctx *c = (struct _aarch64_ctx *)at;

	while (c->magic != magic && c->magic != 0) {
		at += c->size;
		c = (struct _aarch64_ctx *)at;
	}
	return c->magic == magic ? c : NULL;
}

static long clobber_vector(ucontext_t *u, const struct regs_job *j, int n)
{
	struct fpsimd_context *fp = (struct fpsimd_context *)record(u, FPSIMD_MAGIC);
	struct sve_context *sve = (struct sve_context *)record(u, SVE_MAGIC);
	size_t vl = vector_size(), vq = vl / 16;

	if (n < 32) { /* the kernel takes it from here, qemu from there if it is there */
		((uint8_t *)&fp->vregs[n])[3] ^= 1;
		if (sve && sve->head.size >= SVE_SIG_CONTEXT_SIZE(vq))
			((uint8_t *)sve + SVE_SIG_ZREG_OFFSET(vq, (size_t)n))[3] ^= 1;
		return AT(vectors, (j->features ? vl : 16) * (size_t)n + 3);
	}
	if (!j->features || !sve || sve->head.size < SVE_SIG_CONTEXT_SIZE(vq))
		return NONE;
	if (n < 64) {
		if (vl == 16)
			return NONE;
		((uint8_t *)sve + SVE_SIG_ZREG_OFFSET(vq, (size_t)n - 32))[16] ^= 1;
		return AT(vectors, vl * (size_t)(n - 32) + 16);
	}
	((uint8_t *)sve + SVE_SIG_PREG_OFFSET(vq, (size_t)n - 64))[0] ^= 1;
	return AT(masks, vl / 8 * (size_t)(n - 64));
}

#define CLOBBER_VECTORS 80

static long clobber_rest(ucontext_t *u, int n)
{
	struct fpsimd_context *fp = (struct fpsimd_context *)record(u, FPSIMD_MAGIC);

	switch (n) {
	case 0:
		u->uc_mcontext.pstate ^= UINT64_C(1) << 30;
		return AT(control[0], 3);
	case 1:
		fp->fpcr ^= 0x00400000;
		return AT(control[1], 2);
	default:
		fp->fpsr ^= 1;
		return AT(control[2], 0);
	}
}

#define CLOBBER_REST 3

static long clobber_general(ucontext_t *u, int n)
{
	if (n == 28) /* the job's address */
		return NONE;
	u->uc_mcontext.regs[n] ^= 1;
	return AT(general[n], 0);
}

#define CLOBBER_GENERAL 31

#endif

/* ---- patterns, and whether they are there still */
static struct regs_job *job_make(uint64_t seed, uint64_t rounds)
{
	struct regs_job *j = aligned_alloc(64, (sizeof *j + 63) & ~(size_t)63);
	uint64_t word;

	CHECK(j != NULL);
	memset(j, 0, sizeof *j);
	j->random = (seed + 1) * 0x9e3779b97f4a7c15u;
	for (size_t i = 0; i < sizeof j->in; i += sizeof word) {
		word = job_random(j);
		memcpy((uint8_t *)&j->in + i, &word, sizeof word);
	}
	j->features = features();
	make_legal(j);
	j->in.general[WORKING] = -j->in.general[WORKING_PAIR];
	j->out = j->in;
	atomic_store(&j->left, rounds);
	atomic_store(&j->go, 1);
	return j;
}

#define WORKING_WRONG AT(general[WORKING], 0)

/* Where the first difference is; negative: nowhere. */
static long job_differs(const struct regs_job *j)
{
	const uint8_t *in = (const uint8_t *)&j->in, *out = (const uint8_t *)&j->out;

	if (j->bad)
		return WORKING_WRONG;
	CHECK_EQ(j->sp_after, j->sp);
	for (size_t i = 0; i < sizeof j->in; i++)
		if (in[i] != out[i])
			return (long)i;
	return NONE;
}

static void job_check(const struct regs_job *j)
{
	long at = job_differs(j);

	if (at == NONE)
		return;
	if (at < AT(control, 0))
		fprintf(stderr, "general register %ld of the assembly's order\n", at / 8);
	else if (at < AT(red, 0))
		fprintf(stderr, "control word %ld\n", (at - AT(control, 0)) / 8);
	else if (at < AT(x87, 0))
		fprintf(stderr, "the red zone's word %ld\n", (at - AT(red, 0)) / 8);
	else if (at < AT(masks, 0))
		fprintf(stderr, "st(%ld)\n", (at - AT(x87, 0)) / 10);
	else
		fprintf(stderr, "byte %ld of the %s\n",
			at - (at < AT(vectors, 0) ? AT(masks, 0) : AT(vectors, 0)),
			at < AT(vectors, 0) ? "masks" : "vectors");
	CHECK_EQ(at, NONE);
}

/* ---- goroutines that hold patterns */
static __thread uint64_t of_thread;

/* Functions of their own: the compiler may keep its address, across a yield, too. */
static __attribute__((noinline)) void of_thread_set(uint64_t v)
{
	of_thread = v;
	__asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) uint64_t of_thread_get(void)
{
	__asm__ volatile("" ::: "memory");
	return of_thread;
}

struct spinner {
	struct regs_job *job;
	gort_task *task;
	int preempt; /* GORT_PREEMPT_* */
	uint64_t n;
	uint64_t seen; /* job->left, at the last look */
	int turns;     /* it has gone on since the last look */
};

static int spin(void *arg)
{
	struct spinner *s = arg;

	errno = (int)(1000 + s->n);
	if (s->preempt == GORT_PREEMPT_THREAD)
		of_thread_set(s->job->random);
	regs_spin(s->job);
	CHECK_EQ(errno, (int)(1000 + s->n));
	if (s->preempt == GORT_PREEMPT_THREAD)
		CHECK_EQ(of_thread_get(), s->job->random);
	CHECK_EQ(atomic_load(&s->job->go), 0); /* else its rounds are over, or bad is set */
	job_check(s->job);
	return 7;
}

/* Others' values in all registers meanwhile. */
static void disturb(void *arg)
{
	atomic_bool *stop = arg;
	uint64_t seed = 1000;

	while (!atomic_load(stop)) {
		struct regs_job *j = job_make(seed++, 2);

		errno = (int)seed;
		of_thread_set(seed);
		regs_spin(j);
		job_check(j);
		free(j);
		gort_yield();
	}
}

/* With one P: whenever this goroutine runs none of them does, so that one which has gone on since
 * has been stopped, others have run, and it has been resumed. */
static void preempted(int preempt)
{
	enum { TURNS = SCALE(20) };
	int count = 2 * gort_maxprocs(0) + 2;
	struct spinner *s = calloc((size_t)count, sizeof *s);
	gort_waitgroup ended = { 0 };
	atomic_bool stop = false;
	gort_attr attr = { .preempt = preempt };
	int done = 0, result = 0;

	CHECK(s != NULL);
	for (int i = 0; i < count; i++) {
		s[i] = (struct spinner){ .job = job_make((uint64_t)i, ROUNDS),
					 .preempt = preempt,
					 .n = (uint64_t)i,
					 .seen = ROUNDS };
		s[i].task = gort_spawn(spin, &s[i], &attr);
		CHECK(s[i].task != NULL);
	}
	CHECK_EQ(gort_waitgroup_go(&ended, disturb, &stop), 0);
	while (done < count) {
		done = 0;
		CHECK_EQ(gort_sleep(GORT_MS), 0);
		for (int i = 0; i < count; i++) {
			uint64_t left = atomic_load(&s[i].job->left);

			s[i].turns += left != s[i].seen;
			s[i].seen = left;
			done += s[i].turns >= TURNS;
		}
	}
	atomic_store(&stop, true);
	for (int i = 0; i < count; i++)
		atomic_store(&s[i].job->go, 0);
	for (int i = 0; i < count; i++) {
		CHECK_EQ(gort_join(s[i].task, &result), 0);
		CHECK_EQ(result, 7);
		free(s[i].job);
	}
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	free(s);
}

// variants: maxprocs
// not: tsan valgrind
TEST(all_is_there_after_a_stop_of_the_thread)
{
	preempted(GORT_PREEMPT_THREAD);
}

// variants: maxprocs
// not: tsan valgrind
TEST(all_is_there_after_a_switch)
{
	preempted(GORT_PREEMPT_SWITCH);
}

/* ---- the test of the test: a register that somebody changes is missed */
static struct {
	struct regs_job *job;
	pthread_t thread;
	long (*change)(ucontext_t *u, int n);
	int n;
	long where;
} clobber;

static long change_vector(ucontext_t *u, int n)
{
	return clobber_vector(u, clobber.job, n);
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	clobber.where = clobber.change ? clobber.change(context, clobber.n) : NONE;
	atomic_store(&clobber.job->go, 0);
}

static void send_when_it_spins(void *arg)
{
	(void)arg;
	while (atomic_load(&clobber.job->left) == ROUNDS)
		sched_yield();
	CHECK_EQ(pthread_kill(clobber.thread, SIGUSR1), 0);
}

/* What was found. */
static long clobbered(long (*change)(ucontext_t *u, int n), int n)
{
	long at;

	clobber.job = job_make((uint64_t)n, ROUNDS);
	clobber.thread = pthread_self();
	clobber.change = change;
	clobber.n = n;
	struct guest *g = guest_start(send_when_it_spins, NULL);
	regs_spin(clobber.job);
	guest_join(g);
	at = job_differs(clobber.job);
	free(clobber.job);
	return at;
}

static void must_notice(long (*change)(ucontext_t *u, int n), int n)
{
	long at = clobbered(change, n);

	CHECK_EQ(at, clobber.where);
}

static void handler_install(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigemptyset(&sa.sa_mask);
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
}

// not: tsan valgrind
TEST_PLAIN(a_signal_alone_changes_nothing)
{
	handler_install();
	for (int i = 0; i < 10; i++)
		CHECK_EQ(clobbered(NULL, i), NONE);
}

// not: tsan valgrind
TEST_PLAIN(a_changed_general_register_is_noticed)
{
	handler_install();
	for (int n = 0; n < CLOBBER_GENERAL; n++) {
		long at = n == WORKING ? NONE : clobbered(clobber_general, n);

		if (n == WORKING_PAIR) /* the loop may notice it first */
			CHECK(at == clobber.where || at == WORKING_WRONG);
		else if (n != WORKING)
			CHECK_EQ(at, clobber.where); /* of the call above */
	}
}

/* It holds other things for a few instructions of each round. (Emulators deliver signals between
 * blocks of instructions: there always.) */
// not: tsan valgrind qemu
TEST_PLAIN(a_changed_working_register_is_noticed)
{
	int noticed = 0;

	handler_install();
	for (int i = 0; i < 10000 && noticed < 10; i++)
		noticed += clobbered(clobber_general, WORKING) == WORKING_WRONG;
	CHECK_EQ(noticed, 10);
}

// not: tsan valgrind
TEST_PLAIN(a_changed_vector_or_mask_is_noticed)
{
	handler_install();
	for (int n = 0; n < CLOBBER_VECTORS; n++)
		must_notice(change_vector, n);
}

// not: tsan valgrind
TEST_PLAIN(changed_flags_control_words_and_red_zone_are_noticed)
{
	handler_install();
	for (int n = 0; n < CLOBBER_REST; n++)
		must_notice(clobber_rest, n);
}
