// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A dynamic program in a root file system: its loader and C library are mapped,
 * a library function that was not called before is still found afterwards, and
 * its root directory is the one that it was given.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	double (*volatile root)(double) = sqrt;
	char maps[256], *heap = malloc(100000);
	int library = 0, sig;
	sigset_t set;
	FILE *file;

	if (argc != 2 || !heap)
		return 64;
	memset(heap, 'x', 100000);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	file = fopen("/proc/self/maps", "r");
	if (!file)
		return 1;
	while (fgets(maps, sizeof(maps), file))
		library |= strstr(maps, " /lib/libc.so.6") != NULL;
	fclose(file);
	if (!library)
		return 2;
	printf("mapped\n");
	fflush(stdout);
	if (sigwait(&set, &sig))
		return 3;

	for (int i = 0; i < 100000; i++)
		if (heap[i] != 'x')
			return 4;
	free(heap);
	if (root(strtod(argv[1], NULL)) != 12.0 || access("/lib/libm.so.6", R_OK))
		return 5;
	file = fopen("/tmp/result", "w");
	if (!file)
		return 6;
	fprintf(file, "%.0f\n", root(144));
	return fclose(file) ? 7 : 0;
}
