/* A library whose constructor runs before the allocator's own and whose destructor runs after the allocator's own.
 * Always: blocks made in the constructor stay valid until main frees them; the destructor may still allocate and free. */
#include "check.h"

void *early_block[64];
size_t early_size[64];
static void *kept;

__attribute__((constructor)) static void early_start(void) {
  for (int i = 0; i < 64; i++) {
    early_size[i] = ((size_t)1 << (i % 23)) + i;
    early_block[i] = malloc(early_size[i]);
    LAW(early_block[i], "malloc(%zu) failed in a constructor", early_size[i]);
    fill_some(early_block[i], early_size[i], i);
  }
  kept = calloc(3, 1000);
  LAW(kept && all_zero(kept, 3000), "calloc in a constructor");
}

__attribute__((destructor)) static void early_end(void) {
  LAW(all_zero(kept, 3000), "a block changed before the last destructor");
  kept = realloc(kept, 100000);
  LAW(kept && all_zero(kept, 3000), "realloc in the last destructor");
  free(kept);
  exercise_heap();
  static const char text[] = "library destructor\n";
  LAW(write(STDOUT_FILENO, text, sizeof text - 1) > 0, "write");
}
