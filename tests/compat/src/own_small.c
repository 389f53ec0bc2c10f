/* A program with a malloc and free of its own for small blocks only; what is not in its arena goes to the C library's free
 * by a handle, past whatever stands before it. So what the program does not replace must be the C library's.
 * Always: as under the C library alone. */
#include "check.h"

static char arena[16 << 20];
static size_t used;

void *malloc(size_t size) {
  size_t at = __atomic_fetch_add(&used, (size + 31) / 16 * 16, __ATOMIC_RELAXED);
  LAW(at + size < sizeof arena, "the program's arena is full");
  return arena + at + 16 - (uintptr_t)arena % 16;
}

void free(void *block) {
  static void (*of_libc)(void *);
  if (block == NULL || ((char *)block >= arena && (char *)block < arena + sizeof arena)) return;
  if (of_libc == NULL) of_libc = (void (*)(void *))dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), "free");
  of_libc(block);
}

int main(void) {
  for (size_t size = 1; size < 3 * MIB; size = size * 5 / 3 + 1) {
    free(malloc(size < 1000 ? size : 1000));
    char *zero = calloc(size, 1);
    for (size_t i = 0; i < size; i++) LAW(zero[i] == 0, "calloc: byte %zu", i);
    free(zero);
    char *grown = realloc(NULL, size);
    memset(grown, 3, size);
    grown = realloc(grown, 2 * size);
    LAW(grown[size - 1] == 3, "realloc of %zu", size);
    LAW(malloc_usable_size(grown) >= 2 * size, "usable");
    free(grown);
    free(memalign(64, size));
    free(aligned_alloc(4096, size));
    free(valloc(size));
  }
  return 0;
}
