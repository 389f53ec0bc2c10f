/* loop [TURNS]: allocates and frees small and large blocks so often, or until its standard input ends.
 * Always: says "ready" when it has begun; exits with 5. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *volatile kept[64];

__attribute__((noinline)) void turn(unsigned number) {
  for (int i = 0; i < 64; i++) {
    free(kept[i]);
    kept[i] = malloc(number % 8 == 0 ? 100000 + number % 50000 : 16 + (number * 37 + i) % 2000);
    memset(kept[i], 1, 16);
  }
}

int main(int argc, char **argv) {
  unsigned turns = argc > 1 ? (unsigned)atoi(argv[1]) : ~0u;
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  puts("ready");
  fflush(stdout);
  for (unsigned number = 1; number <= turns && (argc > 1 || poll(&input, 1, 0) == 0); number++) turn(number);
  return 5;
}
