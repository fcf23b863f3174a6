// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Open files with offsets of their own: one read to its middle, one opened to
 * append, one reached through two descriptors of one open file, and a high
 * number above a gap.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int has(const char *path, const char *text)
{
	char found[64] = "";
	int file = open(path, O_RDONLY);
	ssize_t n = read(file, found, sizeof(found) - 1);

	close(file);
	return n == (ssize_t)strlen(text) && !strcmp(found, text);
}

int main(void)
{
	int reader, append, one, two, high, sig, file;
	char half[6] = "";
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	file = open("read", O_RDWR | O_CREAT, 0600);
	if (write(file, "0123456789", 10) != 10 || close(file))
		return 1;
	reader = open("read", O_RDONLY);
	append = open("append", O_WRONLY | O_CREAT | O_APPEND, 0600);
	one = open("shared", O_RDWR | O_CREAT, 0600);
	two = dup(one);
	high = fcntl(one, F_DUPFD_CLOEXEC, 100);
	if (read(reader, half, 5) != 5 || write(append, "a", 1) != 1 ||
	    write(one, "ab", 2) != 2 || write(two, "cd", 2) != 2 || high != 100)
		return 2;
	printf("five files are open\n");
	fflush(stdout);
	if (sigwait(&set, &sig))
		return 3;

	if (read(reader, half, 5) != 5 || strcmp(half, "56789"))
		return 4;
	if (lseek(append, 0, SEEK_SET) || write(append, "b", 1) != 1 || !has("append", "ab"))
		return 5;
	if (write(high, "ef", 2) != 2 || write(one, "g", 1) != 1 || lseek(two, 0, SEEK_CUR) != 7 ||
	    !has("shared", "abcdefg"))
		return 6;
	if (fcntl(high, F_GETFD) != FD_CLOEXEC || fcntl(one, F_GETFD) != 0 ||
	    fcntl(99, F_GETFD) != -1)
		return 7;
	return 0;
}
