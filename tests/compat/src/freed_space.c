/* freed_space <MiB> <blocks>: blocks of so many MiB in all are freed; then the program maps as much itself, which its limit
 * of address space does not allow twice. With TRIM it asks malloc_trim for it.
 * Always: as under the C library, the freed blocks' addresses can be had again by others. */
#include "check.h"

static int can_map(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p != MAP_FAILED && munmap(p, size) == 0;
}

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  const size_t total = strtoul(argv[1], NULL, 10) * MIB;
  const int count = atoi(argv[2]);
  static char *blocks[1000];
  for (int round = 0; round < 3; round++) {
    LAW(can_map(total), "there was no room in round %d", round);
    for (int i = 0; i < count; i++) {
      blocks[i] = malloc(total / count);
      LAW(blocks[i], "malloc %d in round %d", i, round);
      memset(blocks[i], 1, total / count);
    }
    for (int i = 0; i < count; i++) free(blocks[i]);
#ifdef TRIM
    malloc_trim(0);
#endif
    LAW(can_map(total), "the freed %zu MiB cannot be mapped in round %d", total / MIB, round);
  }
  return 0;
}
