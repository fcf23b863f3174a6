// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Has an interval timer that is far from its end, and waits for its signal,
 * which somebody else sends sooner.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

int main(void)
{
	const struct itimerval minute = { .it_value = { .tv_sec = 60 } };
	struct itimerval left;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (setitimer(ITIMER_REAL, &minute, NULL))
		return 1;
	printf("armed\n");
	fflush(stdout);
	if (sigwait(&set, &sig) || sig != SIGALRM)
		return 2;
	if (getitimer(ITIMER_REAL, &left) || !left.it_value.tv_sec)
		return 3;
	return 0;
}
