/* aligned_limit <count> <alignment> <size>: so many blocks at once. Always: each is there, aligned, and can be written to;
 * what alignment leaves free between them takes nothing of a limit of memory. */
#include "check.h"

int main(int argc, char **argv) {
  LAW(argc == 4, "usage");
  size_t count = strtoul(argv[1], NULL, 10), alignment = strtoul(argv[2], NULL, 10), size = strtoul(argv[3], NULL, 10);
  char **blocks = calloc(count, sizeof *blocks);
  for (size_t i = 0; i < count; i++) {
    LAW((blocks[i] = aligned_alloc(alignment, size)), "block %zu of %zu was refused", i, count);
    LAW((uintptr_t)blocks[i] % alignment == 0, "%p", (void *)blocks[i]);
    fill(blocks[i], size, (unsigned)i);
  }
  for (size_t i = 0; i < count; i++) {
    LAW(filled(blocks[i], size, (unsigned)i), "block %zu has changed", i);
    if (i % 3 == 0) blocks[i] = realloc(blocks[i], size * 2);
    LAW(filled(blocks[i], size, (unsigned)i), "realloc has changed block %zu", i);
  }
  for (size_t i = 0; i < count; i++) free(blocks[i]);
  return 0;
}
