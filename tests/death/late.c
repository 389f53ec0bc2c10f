// After how many frees of its size a freed block is handed out again: the least, the most, and how many numbers there were.
//
// Always holds: writes one line, and exits with status 0.
#include <stdio.h>
#include <stdlib.h>

enum { kRounds = 400, kMost = 5000, kSpare = 200 };

int main(int argc, char **argv) {
  const size_t size = argc == 2 ? strtoul(argv[1], NULL, 0) : 1;
  static char seen[kMost + 1];
  static void *spare[kSpare];
  int least = kMost, most = 0, kinds = 0;
  for (int i = 0; i < kSpare; i++) spare[i] = malloc(size);
  for (int i = 0; i < kSpare; i++) free(spare[i]);
  for (int round = 0; round < kRounds; round++) {
    void *victim = malloc(size);
    free(victim);
    int count = 0;
    for (void *p = NULL; count < kMost && p != victim; count++) free(p = malloc(size));
    if (count < least) least = count;
    if (count > most) most = count;
    kinds += !seen[count];
    seen[count] = 1;
  }
  printf("%d %d %d\n", least, most, kinds);
  return 0;
}
