/* layered: every maker of blocks, where all calls go to layered_malloc.so. Always: each makes one block of it, and free takes it. */
#include "check.h"

static long (*layered_live)(void);
static long expected;

static void *made(void *block, size_t size, size_t alignment, const char *by) {
  LAW(block && (uintptr_t)block % alignment == 0 && malloc_usable_size(block) >= size, "%s gave %p", by, block);
  LAW(layered_live() == ++expected, "%s: %ld blocks, not %ld", by, layered_live(), expected);
  return memset(block, 7, size);
}

static void gone(void *block) {
  free(block);
  LAW(layered_live() == --expected, "free: %ld blocks, not %ld", layered_live(), expected);
}

int main(void) {
  layered_live = (long (*)(void))dlsym(RTLD_DEFAULT, "layered_live");
  LAW(layered_live, "layered_malloc.so is not there");
  expected = layered_live();
  for (size_t size = 1; size < 100000; size = size * 7 + 3) {
    void *block = NULL;
    gone(made(malloc(size), size, 16, "malloc"));
    gone(made(calloc(size, 1), size, 16, "calloc"));
    gone(made(realloc(NULL, size), size, 16, "realloc"));
    gone(made(reallocarray(NULL, size, 1), size, 16, "reallocarray"));
    gone(made(aligned_alloc(512, size), size, 512, "aligned_alloc"));
    gone(made(memalign(1024, size), size, 1024, "memalign"));
    LAW(posix_memalign(&block, 64, size) == 0, "posix_memalign");
    gone(made(block, size, 64, "posix_memalign"));
    gone(made(valloc(size), size, 4096, "valloc"));
    gone(made(pvalloc(size), size, 4096, "pvalloc"));
    block = realloc(made(malloc(size), size, 16, "malloc"), size * 2);
    LAW(((char *)block)[size - 1] == 7, "realloc lost a byte");
    gone(block);
  }
  return 0;
}
