// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A tree of processes, WIDTH children on each of DEPTH levels, built one after
 * the other.  On SIGTERM the root stops the leaves through the levels, and each
 * parent checks that it reaps exactly its children, with the status that belongs
 * to their place.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 8 };

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

/* The file that says that the node of this number and all below it are there. */
static void name(char *to, size_t size, int number)
{
	snprintf(to, size, "up.%d", number);
}

/* One node; returns the status with which it ends. */
static int node(int depth, int width, int number)
{
	const struct timespec pause = { .tv_nsec = 500000 };
	pid_t children[MOST], self = getpid();
	int wrong = 0;
	char up[32];

	for (int i = 1; depth > 0 && i <= width; i++) {
		children[i - 1] = fork();
		if (children[i - 1] < 0)
			return 99;
		if (!children[i - 1]) {
			int status = node(depth - 1, width, number * 10 + i);

			_exit(getppid() == self ? status : 98);
		}
		name(up, sizeof(up), number * 10 + i);
		while (access(up, F_OK))
			nanosleep(&pause, NULL);
	}
	name(up, sizeof(up), number);
	if (mknod(up, S_IFREG | 0600, 0))
		return 97;
	/* Frozen anywhere in here it has the same mask. */
	while (!stop)
		nanosleep(&pause, NULL);
	for (int i = 0; depth > 0 && i < width; i++)
		wrong |= kill(children[i], SIGTERM);
	for (int i = 0; depth > 0 && i < width; i++) {
		int status = 0;

		if (waitpid(children[i], &status, 0) != children[i] || !WIFEXITED(status) ||
		    WEXITSTATUS(status) != i + 1)
			wrong = 1;
	}
	if (wait(NULL) != -1)
		wrong = 1;
	return wrong ? 96 : number % 10;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_term };

	if (argc != 3 || atoi(argv[2]) > MOST)
		return 64;
	sigaction(SIGTERM, &action, NULL);
	return node(atoi(argv[1]), atoi(argv[2]), 0);
}
