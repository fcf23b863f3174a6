// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A daemon: it leaves its parent and its session, writes a pid file and works
 * until it gets SIGTERM.  Then it removes the pid file and says in a log that
 * it is still the process that wrote it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static void leave(void)
{
	pid_t pid = fork();

	if (pid < 0)
		_exit(1);
	if (pid)
		_exit(0);
}

int main(int argc, char **argv)
{
	const char *pidfile = argc > 1 ? argv[1] : "daemon.pid";
	struct sigaction action = { .sa_handler = on_term };
	const struct timespec nap = { .tv_nsec = 1000000 };
	pid_t written = 0;
	int null;
	FILE *file;

	leave();
	if (setsid() < 0)
		return 1;
	leave();
	umask(022);
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		return 1;
	if (null > 2)
		close(null);
	sigaction(SIGTERM, &action, NULL);

	/* Whoever finds it under its name finds it whole, and closed. */
	file = fopen("daemon.tmp", "w");
	if (!file)
		return 1;
	fprintf(file, "%d\n", (int)getpid());
	if (fclose(file) || rename("daemon.tmp", pidfile))
		return 1;

	/* Frozen anywhere in here it has the same mask. */
	while (!stop)
		nanosleep(&nap, NULL);

	file = fopen(pidfile, "r");
	if (!file || fscanf(file, "%d", &written) != 1 || written != getpid())
		return 2;
	fclose(file);
	if (getppid() != 1)
		return 3;
	if (unlink(pidfile))
		return 4;
	file = fopen("daemon.log", "w");
	if (!file)
		return 5;
	fprintf(file, "stopped as the process that started\n");
	return fclose(file) ? 5 : 0;
}
