/*
 * path.c - from a request's target to the name of a file, and what kind of file that is.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "httpd.h"

#include <string.h>
#include <strings.h>

static int hex_digit(char ch)
{
	return ch >= '0' && ch <= '9'    ? ch - '0'
		: ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
		: ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
					 : -1;
}

/* The path in a target: without the query, and the host, if that is in there. */
int find_path(struct text *target)
{
	const char *end = target->at + target->len, *at = target->at;

	if (target->len > TARGET_MOST)
		return 414;
	if (*at != '/') {
		at = memmem(at, target->len, "://", 3);
		if (!at)
			return 400;
		at = memchr(at + 3, '/', (size_t)(end - at - 3));
		if (!at)
			at = end;
	}
	target->at = at;
	while (at < end && *at != '?' && *at != '#')
		at++;
	target->len = (size_t)(at - target->at);
	return 0;
}

/* Relative to the root, ended by a NUL; to has TARGET_MOST bytes, and one. 0, or a status. */
int decode_path(char *to, struct text path)
{
	size_t n = 0, i = 0;

	while (i < path.len && path.at[i] == '/')
		i++;
	for (; i < path.len; i++) {
		int ch = (unsigned char)path.at[i];

		if (ch == '%') {
			int high = i + 2 < path.len ? hex_digit(path.at[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(path.at[i + 2]) : -1;

			ch = low < 0 ? 0 : high << 4 | low;
			i += 2;
		}
		if (ch == 0)
			return 400;
		if (ch == '.' && (n == 0 || to[n - 1] == '/'))
			return 404; /* rule 3 */
		to[n++] = (char)ch;
	}
	to[n] = '\0';
	return 0;
}

const char *type_of(const char *path)
{
	static const char *const known[][2] = {
		{ "html", "text/html; charset=utf-8" },
		{ "htm", "text/html; charset=utf-8" },
		{ "css", "text/css; charset=utf-8" },
		{ "js", "text/javascript; charset=utf-8" },
		{ "mjs", "text/javascript; charset=utf-8" },
		{ "txt", "text/plain; charset=utf-8" },
		{ "md", "text/markdown; charset=utf-8" },
		{ "csv", "text/csv; charset=utf-8" },
		{ "json", "application/json" },
		{ "xml", "application/xml" },
		{ "pdf", "application/pdf" },
		{ "wasm", "application/wasm" },
		{ "zip", "application/zip" },
		{ "gz", "application/gzip" },
		{ "png", "image/png" },
		{ "jpg", "image/jpeg" },
		{ "jpeg", "image/jpeg" },
		{ "gif", "image/gif" },
		{ "svg", "image/svg+xml" },
		{ "webp", "image/webp" },
		{ "ico", "image/x-icon" },
		{ "woff2", "font/woff2" },
		{ "mp3", "audio/mpeg" },
		{ "mp4", "video/mp4" },
	};
	const char *name = strrchr(path, '/'), *dot = strrchr(name ? name : path, '.');

	for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
		if (strcasecmp(dot + 1, known[i][0]) == 0)
			return known[i][1];
	return "application/octet-stream";
}
