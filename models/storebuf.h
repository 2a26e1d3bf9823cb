/*
 * storebuf.h - store buffers, for models whose protocol is about a store followed by a load.
 *
 * Spin interleaves the steps of processes over one memory. A processor lets a thread's loads
 * overtake its earlier stores, which wait in a buffer of the thread's own. A protocol of the kind
 * "I store, then look; you store, then look" stands or falls with that, so it is modelled: the
 * total store order of x86.
 *
 *  - store puts a pair of address and value into the thread's buffer. The process buffer of that
 *    thread commits the oldest to memory, whenever it likes.
 *  - A load of another thread's word reads mem. No thread here loads a word that it has stored
 *    itself while the store may be pending: it keeps a copy, as its own buffer would give it.
 *  - A full fence, and each locked instruction, waits until the thread's buffer is empty.
 *  - membarrier empties the buffer of each other thread, at some moment between its begin and its
 *    end, in any order. fence_light is nothing then. With WITH_FULL_FENCES (a kernel without
 *    membarrier) fence_light is a full fence, and membarrier one of the caller's alone.
 *  - A buffer holds DEPTH stores. When it is full its thread waits, as on a processor.
 *
 * AArch64 reorders more: independent stores, independent loads. Where that matters the code has
 * a release that meets an acquire, which forbids it; the models have those steps in program order,
 * and the broken variants that swap two such steps show what the pair is for.
 *
 * Before the include: THREADS, WORDS, DEPTH.
 */
byte mem[WORDS];
chan pending[THREADS] = [DEPTH] of { byte, byte }; /* address, value; oldest first */
hidden byte a_, v_;                                /* scratch of d_steps: not part of the state */

#define drained(t) empty(pending[t])

inline store(t, a, v)
{
	pending[t]!a,v
}

inline flush(t)
{
	d_step {
		do
		:: nempty(pending[t]) -> pending[t]?a_,v_; mem[a_] = v_
		:: empty(pending[t]) -> break
		od;
		a_ = 0; v_ = 0
	}
}

proctype buffer(byte t)
{
end:	do
	:: d_step { pending[t]?a_,v_ -> mem[a_] = v_; a_ = 0; v_ = 0 }
	od
}

inline full_fence(t)
{
	drained(t)
}

inline fence_light(t)
{
#ifdef WITH_FULL_FENCES
	full_fence(t)
#else
	skip
#endif
}

/* Of the other threads: counted from the caller on. todo: a variable of the caller's, 0 before and
 * after. */
#define OTHER_THREAD(t, n) (((t) + (n)) % THREADS)

inline membarrier(t, todo)
{
	full_fence(t);
#ifndef WITH_FULL_FENCES
	todo = (1 << (THREADS - 1)) - 1;
	do
#if THREADS > 1
	:: todo & 1 -> flush(OTHER_THREAD(t, 1)); todo = todo & ~1
#endif
#if THREADS > 2
	:: todo & 2 -> flush(OTHER_THREAD(t, 2)); todo = todo & ~2
#endif
#if THREADS > 3
	:: todo & 4 -> flush(OTHER_THREAD(t, 3)); todo = todo & ~4
#endif
	:: todo == 0 -> break
	od
#endif
}
