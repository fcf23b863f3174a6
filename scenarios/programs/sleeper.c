// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Sleeps in the kernel with time left, and wakes when that has passed: a
 * nanosleep that is interrupted goes on with what is left of it, and nobody has
 * to tell the program anything.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

int main(void)
{
	const struct timespec sleep = { .tv_sec = 2 };
	long long start = now();
	int woken;

	printf("asleep\n");
	fflush(stdout);
	woken = nanosleep(&sleep, NULL);
	if (woken)
		return errno == EINTR ? 1 : 2;
	/* In another kernel the clock may have begun later, but no sleep is shorter. */
	printf("slept %lld ms by the clock\n", now() - start);
	return 0;
}
