// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Fills memory with a pattern, says so on its standard output, and verifies the
 * pattern when it gets SIGUSR1.  What it finds goes to a file.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 11;
}

int main(int argc, char **argv)
{
	size_t words = (argc > 1 ? strtoul(argv[1], NULL, 10) : 64) * 1024 / sizeof(uint64_t);
	uint64_t state = 7, *memory = malloc(words * sizeof(uint64_t));
	size_t wrong = 0;
	sigset_t set;
	int sig;
	FILE *out;

	if (!memory)
		return 1;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; i < words; i++)
		memory[i] = next(&state);
	printf("%zu words are written\n", words);
	fflush(stdout);

	if (sigwait(&set, &sig) || sig != SIGUSR1)
		return 2;
	state = 7;
	for (size_t i = 0; i < words; i++)
		wrong += memory[i] != next(&state);
	printf("verified\n");
	out = fopen("result.txt", "w");
	if (!out)
		return 3;
	fprintf(out, "wrong words: %zu\n", wrong);
	return fclose(out) || wrong ? 4 : 0;
}
