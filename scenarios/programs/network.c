// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Has a network of its own: no interface but a loopback that is down, before
 * and afterwards, and it may bring that up without harm to anybody.
 */
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int set_up(int up)
{
	struct ifreq request = { .ifr_name = "lo" };
	int sock = socket(AF_UNIX, SOCK_DGRAM, 0), wrong = 0;

	if (sock < 0)
		return 2;
	if (ioctl(sock, SIOCGIFFLAGS, &request))
		wrong = 3;
	else if (!!(request.ifr_flags & IFF_UP) == up)
		wrong = 4;
	request.ifr_flags ^= IFF_UP;
	if (!wrong && ioctl(sock, SIOCSIFFLAGS, &request))
		wrong = 5;
	close(sock);
	return wrong;
}

static int alone(void)
{
	char mine[64] = "", other[64] = "";

	return readlink("/proc/self/ns/net", mine, sizeof(mine) - 1) > 0 &&
	       readlink("/proc/1/ns/net", other, sizeof(other) - 1) > 0 && strcmp(mine, other);
}

static int round_trip(void)
{
	int wrong = alone() ? set_up(1) : 1;

	return wrong ? wrong : set_up(0);
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int wrong = round_trip();

	if (wrong)
		return wrong;
	printf("alone\n");
	fflush(stdout);
	while (access("go", F_OK))
		nanosleep(&pause, NULL);
	wrong = round_trip();
	return wrong ? wrong + 10 : 0;
}
