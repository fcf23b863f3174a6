// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Mounts and unmounts as it likes, which nobody else may see: its mount
 * namespace is not that of its parent, before and afterwards.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int differs(const char *one, const char *other)
{
	char a[64] = "", b[64] = "";

	return readlink(one, a, sizeof(a) - 1) > 0 && readlink(other, b, sizeof(b) - 1) > 0 &&
	       strcmp(a, b) != 0;
}

static int round_trip(void)
{
	int file;

	if (!differs("/proc/self/ns/mnt", "/proc/1/ns/mnt"))
		return 1;
	if (mount("tmpfs", "place", "tmpfs", 0, "size=64k"))
		return 2;
	file = open("place/file", O_WRONLY | O_CREAT, 0600);
	if (file < 0 || close(file) || umount("place"))
		return 3;
	return access("place/file", F_OK) ? 0 : 4;
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int wrong;

	if (mkdir("place", 0755))
		return 64;
	wrong = round_trip();
	if (wrong)
		return wrong;
	printf("mounted\n");
	fflush(stdout);
	while (access("go", F_OK))
		nanosleep(&pause, NULL);
	wrong = round_trip();
	return wrong ? wrong + 10 : 0;
}
