/* glibc's internal names of the malloc family, under which some programs call it. Always: they are the tested library's,
 * so that their blocks and those of the plain names are the same kind. */
#include "check.h"

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), *__libc_valloc(size_t), *__libc_pvalloc(size_t);
extern void __libc_free(void *);

/* Judges a block by the plain names, then frees it by plain or internal name. */
static void ordinary(const char *origin, void *block, size_t size, int internal) {
  LAW(block && malloc_usable_size(block) >= size, "%s(%zu)", origin, size);
  fill(block, size, 1);
  block = (internal ? __libc_realloc : realloc)(block, size * 3);
  LAW(block && filled(block, size, 1), "realloc of a block by %s", origin);
  (internal ? __libc_free : free)(block);
}

int main(void) {
  LAW(from_tested_lib((void *)__libc_malloc) && from_tested_lib((void *)__libc_free), "__libc_malloc is not ours");
  LAW(from_tested_lib((void *)__libc_calloc) && from_tested_lib((void *)__libc_realloc), "__libc_calloc is not ours");
  LAW(from_tested_lib((void *)__libc_memalign), "__libc_memalign is not ours");
  for (int internal = 0; internal < 2; internal++)
    for (size_t size = 1; size < 8 * MIB; size = size * 3 + 1) {
      ordinary("__libc_malloc", __libc_malloc(size), size, internal);
      ordinary("__libc_calloc", __libc_calloc(size, 1), size, internal);
      ordinary("__libc_realloc", __libc_realloc(NULL, size), size, internal);
      ordinary("__libc_memalign", __libc_memalign(256, size), size, internal);
      ordinary("__libc_valloc", __libc_valloc(size), size, internal);
      ordinary("__libc_pvalloc", __libc_pvalloc(size), size, internal);
      ordinary("malloc", malloc(size), size, internal);
    }
  exercise_heap();
  return 0;
}
