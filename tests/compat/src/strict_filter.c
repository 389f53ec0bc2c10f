/* A program that, once started, may only use the system calls of memory and waiting; every other one kills it.
 * Always: allocation goes on: small, large, grown, trimmed; what is needed once was fetched at start-up or by the first calls
 * (with NO_WARM_UP: at start-up alone). */
#include "sandbox.h"

int main(void) {
#ifndef NO_WARM_UP
  exercise_heap();
#endif
  static const int allowed[] = {SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_mremap, SYS_futex,
                                SYS_exit_group, SYS_write, SYS_exit};
  sandbox(allowed, sizeof allowed / sizeof *allowed, 0, 1);
  uint64_t state = 1;
  void *kept[200] = {0};
  for (int i = 0; i < 30000; i++) {
    void **slot = &kept[random_next(&state) % 200];
    if (i % 3) {
      free(*slot);
      *slot = i % 2 ? malloc(random_size(&state, 8 * MIB)) : calloc(1, random_size(&state, MIB));
    } else {
      *slot = realloc(*slot, random_size(&state, 3 * MIB));
    }
    LAW(*slot, "no memory");
    if (i % 1000 == 0) malloc_trim(0);
  }
  for (int i = 0; i < 200; i++) free(kept[i]);
  for (size_t size = 100 * MIB; size < GIB; size *= 2) free(realloc(malloc(size), size * 2));
  malloc_trim(0);
  exercise_heap();
  _exit(0);
}
