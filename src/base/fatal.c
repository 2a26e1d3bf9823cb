/*
 * fatal.c - text without stdio, and the end of the process. See fatal.h.
 *
 * Runs anywhere: on any stack (it needs less than 1 KiB of it), in signal handlers, with any lock
 * held. (What the hook says takes more, and sees to it that there is room.)
 */
#include "base/fatal.h"

#include "os/os.h"

#define TEXT_SIZE 768

struct out {
	char *at, *end;
};

static void put(struct out *o, char c)
{
	if (o->at < o->end)
		*o->at++ = c;
}

static void put_text(struct out *o, const char *s)
{
	for (s = s ? s : "(null)"; *s; s++)
		put(o, *s);
}

static void put_number(struct out *o, uint64_t n, unsigned base)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[n % base];
	} while ((n /= base) != 0);
	while (count)
		put(o, digits[--count]);
}

static void put_signed(struct out *o, int64_t n)
{
	if (n < 0)
		put(o, '-');
	put_number(o, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 10);
}

size_t gort__vformat(char *buf, size_t size, const char *format, va_list args)
{
	struct out o = { buf, buf + (size ? size - 1 : 0) };

	for (const char *f = format; *f; f++) {
		if (*f != '%' || f[1] == 0) {
			put(&o, *f);
			continue;
		}
		switch (*++f) {
		case 's':
			put_text(&o, va_arg(args, const char *));
			break;
		case 'd':
			put_signed(&o, va_arg(args, int64_t));
			break;
		case 'u':
			put_number(&o, va_arg(args, uint64_t), 10);
			break;
		case 'x':
			put_number(&o, va_arg(args, uint64_t), 16);
			break;
		case 'p':
			put_text(&o, "0x");
			put_number(&o, (uint64_t)(uintptr_t)va_arg(args, void *), 16);
			break;
		default:
			put(&o, *f);
		}
	}
	if (size)
		*o.at = 0;
	return (size_t)(o.at - buf);
}

size_t gort__format(char *buf, size_t size, const char *format, ...)
{
	va_list args;
	size_t n;

	va_start(args, format);
	n = gort__vformat(buf, size, format, args);
	va_end(args);
	return n;
}

static void report(const char *format, va_list args)
{
	char text[TEXT_SIZE];
	size_t n = gort__format(text, sizeof text, "gort: ");

	n += gort__vformat(text + n, sizeof text - n - 1, format, args);
	text[n++] = '\n';
	os_write_err(text, n);
}

void gort__report(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(format, args);
	va_end(args);
}

void (*gort__fatal_hook)(void);

void gort__fatal(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(format, args);
	va_end(args);
	if (gort__fatal_hook)
		gort__fatal_hook();
	os_abort();
}

const char *gort__forked;

_Noreturn rare void gort__fatal_forked(const char *what)
{
	gort__fatal("misuse: %s in a forked child: %s: only exec and _exit are possible there",
		    gort__forked, what);
}
