// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Traces its child, as a debugger does, until a signal ends both.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	int sig, status;
	sigset_t set;
	pid_t child;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	child = fork();
	if (!child)
		for (;;)
			pause();
	if (child < 0 || ptrace(PTRACE_SEIZE, child, 0, 0))
		return 1;
	printf("traces\n");
	fflush(stdout);
	if (sigwait(&set, &sig) || sig != SIGUSR2)
		return 2;
	if (kill(child, SIGKILL) || waitpid(child, &status, 0) != child)
		return 3;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : 4;
}
