/* A program that frees, grows and measures the blocks which a library's constructor made before the allocator's own ran.
 * Always: those blocks are intact and ordinary. */
#include "check.h"

int main(void) {
  void **early_block = dlsym(RTLD_DEFAULT, "early_block");
  size_t *early_size = dlsym(RTLD_DEFAULT, "early_size");
  LAW(early_block && early_size, "the early library is not loaded");
  LAW(from_tested_lib((void *)malloc), "malloc is not the tested library's");
  for (int i = 0; i < 64; i++) {
    size_t size = early_size[i];
    LAW(malloc_usable_size(early_block[i]) >= size, "usable size of an early block of %zu", size);
    LAW(filled_some(early_block[i], size, i), "an early block of %zu bytes has changed", size);
    if (i % 2) {
      early_block[i] = realloc(early_block[i], size + 5000);
      LAW(early_block[i] && filled_some(early_block[i], size, i), "realloc of an early block of %zu", size);
    }
  }
  for (int i = 0; i < 64; i++) free(early_block[i]);
  exercise_heap();
  return 0;
}
