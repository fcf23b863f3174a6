// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Counts while it waits for a marker file, looking for it again and again, and
 * exits once it is there.  The count never goes back.
 */
#define _GNU_SOURCE
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	volatile unsigned long count = 0, before = 0;

	if (argc != 3)
		return 64;
	for (;;) {
		if (count < before)
			return 1;
		before = count++;
		/* Made without being opened: who sees it finds no descriptor. */
		if (count == 3 && mknod(argv[1], S_IFREG | 0644, 0))
			return 2;
		if (count > 3 && !access(argv[2], F_OK))
			return 0;
		nanosleep(&pause, NULL);
	}
}
