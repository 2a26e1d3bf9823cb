/*
 * base.h - the few words that every file of gort uses.
 */
#ifndef GORT_BASE_BASE_H
#define GORT_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define inlined inline __attribute__((__always_inline__))
#define noinline __attribute__((__noinline__))
#define rare __attribute__((__cold__, __noinline__))
#define aligned_line __attribute__((aligned(64)))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Data of gort's own that several files use: reached without the detour of an exported symbol. */
#define hidden_data __attribute__((visibility("hidden")))

/* A variable of which each thread has one, whose address other threads use: declared by per_thread,
 * used as own_of(name). The simulator puts others in the place of these two. */
#define per_thread(type, name) __thread type name
#define own_of(name) name

/* A function that the sanitizers for addresses and threads let be. In clang no_sanitize_thread still
 * counts frames, and AddressSanitizer (14's) does not heed disable_sanitizer_instrumentation. */
#ifdef __clang__
#define not_sanitized \
	__attribute__((__noinline__, no_sanitize_address, disable_sanitizer_instrumentation))
#else
#define not_sanitized __attribute__((__noinline__, no_sanitize_thread, no_sanitize_address))
#endif

/* Functions of the scheduler that are entered anew on g0 each time and never return: the
 * sanitizers must not count their frames. */
#define runs_on_g0 not_sanitized

/* It reads what others may be writing, for reports that must not wait: garbage is expected. */
#define racy not_sanitized

/* In public headers names are visible; everything else of the library is hidden
 * (-fvisibility=hidden). */
#define GORT_API __attribute__((visibility("default")))

static inline size_t align_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

#endif
