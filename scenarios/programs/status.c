// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Reports by how it ends alone: with the given exit status once there is a
 * marker file, or by the signal that it is sent before.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	/* Made without being opened: who sees it finds no descriptor. */
	if (argc != 2 || mknod("ready", S_IFREG | 0644, 0))
		return 64;
	while (access("go", F_OK))
		nanosleep(&pause, NULL);
	return atoi(argv[1]);
}
