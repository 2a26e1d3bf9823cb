/*
 * date.c - dates as HTTP has them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strptime */
#endif
#include "httpd.h"

#include <string.h>
#include <time.h>

static void put_digits(char *to, unsigned n, int digits)
{
	while (digits-- > 0) {
		to[digits] = (char)('0' + n % 10);
		n /= 10;
	}
}

/* As HTTP has it. Not strftime and gmtime_r: those know locales and take a lock. */
void format_date(char to[DATE + 1], time_t t)
{
	static const char days[] = "ThuFriSatSunMonTueWed";
	static const char months[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";
	uint32_t seconds, day, era_day, year, month;

	t = t < 0 ? 0 : t > 253402300799 ? 253402300799 : t;
	day = (uint32_t)(t / 86400);
	seconds = (uint32_t)(t % 86400);
	memcpy(to, "???, ?? ??? ???? ??:??:?? GMT", DATE + 1);
	memcpy(to, days + 3 * (size_t)(day % 7), 3);
	/* Years begin in March, so that the day that may not be there is the last. */
	day += 719468;
	era_day = day % 146097;
	year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
	era_day -= 365 * year + year / 4 - year / 100;
	month = (5 * era_day + 2) / 153;
	memcpy(to + 8, months + 3 * (size_t)month, 3);
	put_digits(to + 5, era_day - (153 * month + 2) / 5 + 1, 2);
	put_digits(to + 12, year + day / 146097 * 400 + (month >= 10), 4);
	put_digits(to + 17, seconds / 3600, 2);
	put_digits(to + 20, seconds / 60 % 60, 2);
	put_digits(to + 23, seconds % 60, 2);
}

/* False: it is none. Old forms are not read; they are ignored, as what is wrong is. */
bool parse_date(struct text date, time_t *t)
{
	struct tm tm = { 0 };
	char copy[DATE + 1], *end;

	if (date.len != DATE)
		return false;
	memcpy(copy, date.at, DATE);
	copy[DATE] = '\0';
	end = strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (!end || *end)
		return false;
	*t = timegm(&tm);
	return true;
}

/* Now; each connection has its own, made anew when a second has passed. */
const char *date_of(struct conn *c)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != c->date_of) {
		c->date_of = now.tv_sec;
		format_date(c->date, now.tv_sec);
	}
	return c->date;
}
