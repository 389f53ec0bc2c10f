// realloc to less where there is no memory for a smaller block: the block stays, and has the new size.
//
// Always holds: exits with status 0 and says nothing, or names the first law that does not hold.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

void free_sized(void *p, size_t size) __attribute__((weak));

#define LAW(condition) \
  if (!(condition)) return printf("%zu to %zu: not %s\n", from[i], to[i], #condition), 1

int main(void) {
  static const size_t from[] = {500, 8176, 30000, 200000, 5 << 20}, to[] = {20, 112, 25000, 150000, 100000};
  enum { kCount = sizeof from / sizeof *from };
  static char *blocks[kCount];
  struct rlimit none = {0, RLIM_INFINITY};
  for (int i = 0; i < kCount; i++) memset(blocks[i] = malloc(from[i]), i + 1, from[i]);
  setrlimit(RLIMIT_AS, &none);
  // All that is left of any size.
  for (size_t size = 1 << 20; size >= 16; size -= size / 8)
    while (malloc(size) != NULL) continue;
  for (int i = 0; i < kCount; i++) LAW(realloc(blocks[i], to[i]) == blocks[i]);
  for (int i = 0; i < kCount; i++) {
    LAW(malloc_usable_size(blocks[i]) == to[i]);
    for (size_t k = 0; k < to[i]; k++) LAW(blocks[i][k] == i + 1);
    memset(blocks[i], 7, to[i]);
    if (free_sized != NULL) {
      free_sized(blocks[i], to[i]);
    } else {
      free(blocks[i]);
    }
  }
  return 0;
}
