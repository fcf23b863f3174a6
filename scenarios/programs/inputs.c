// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Has read half of a helper file, was given arguments and a variable, and holds
 * all of that against each other after it was told to go on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	char first[6] = "", second[6] = "";
	struct stat st;
	int file;

	if (argc != 3 || strcmp(argv[1], "--word") || !getenv("GREETING"))
		return 64;
	file = open("data/words.txt", O_RDONLY);
	if (file < 0 || read(file, first, 5) != 5)
		return 1;
	if (fstat(file, &st) || (st.st_mode & 07777) != 0640 || st.st_uid != 7 || st.st_gid != 8)
		return 2;
	printf("half of it is read: %s\n", first);
	fflush(stdout);
	while (access("go", F_OK))
		nanosleep(&pause, NULL);
	if (read(file, second, 5) != 5)
		return 3;
	if (strcmp(first, getenv("GREETING")) || strcmp(second, argv[2]))
		return 4;
	return 0;
}
