// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Runs as another user, who can write its own file and not root's, and is still
 * that user afterwards.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int check(uid_t uid, gid_t gid)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (getresuid(&r, &e, &s) || getresgid(&rg, &eg, &sg))
		return 1;
	if (r != uid || e != uid || s != uid || rg != gid || eg != gid || sg != gid)
		return 2;
	if (getgroups(0, NULL) != 0)
		return 3;
	if (!setuid(0) || errno != EPERM)
		return 4;
	if (open("root-only", O_RDONLY) >= 0 || errno != EACCES)
		return 5;
	return 0;
}

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int file, wrong;

	if (argc != 3)
		return 64;
	wrong = check(atoi(argv[1]), atoi(argv[2]));
	if (wrong)
		return wrong;
	file = open("mine", O_RDWR | O_CREAT | O_EXCL, 0600);
	if (file < 0 || write(file, "a", 1) != 1)
		return 6;
	if (mknod("is-ready", S_IFREG | 0600, 0))
		return 8;
	while (access("go", F_OK))
		nanosleep(&pause, NULL);
	if (write(file, "b", 1) != 1 || lseek(file, 0, SEEK_CUR) != 2)
		return 7;
	wrong = check(atoi(argv[1]), atoi(argv[2]));
	return wrong ? wrong + 10 : 0;
}
