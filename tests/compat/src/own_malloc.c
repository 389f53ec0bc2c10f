/* A program with an allocator of its own, as when another allocator is linked into it: malloc and free only, or with
 * EVERYTHING the whole family. Always: calls of the program and of the C library reach the program's functions. */
#include "check.h"

static char arena[32 << 20];
static size_t used;
static long calls;

static int is_mine(const void *block) { return (char *)block >= arena && (char *)block < arena + sizeof arena; }

static void *bump(size_t size, size_t alignment) {
  __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
  size_t room = size + alignment + 16;
  char *start = arena + __atomic_fetch_add(&used, room, __ATOMIC_RELAXED) + 16;
  LAW(start + room < arena + sizeof arena, "the program's arena is full");
  start += alignment - (uintptr_t)start % alignment;
  ((size_t *)start)[-1] = size;
  return start;
}

void *malloc(size_t size) { return bump(size, 16); }
void free(void *block) { (void)block; }

#ifdef EVERYTHING
void *calloc(size_t count, size_t size) { return memset(bump(count * size, 16), 0, count * size); }
void *realloc(void *block, size_t size) {
  void *made = bump(size, 16);
  if (block) memcpy(made, block, ((size_t *)block)[-1] < size ? ((size_t *)block)[-1] : size);
  return made;
}
void *memalign(size_t alignment, size_t size) { return bump(size, alignment); }
void *aligned_alloc(size_t alignment, size_t size) { return bump(size, alignment); }
int posix_memalign(void **out, size_t alignment, size_t size) { return *out = bump(size, alignment), 0; }
void *valloc(size_t size) { return bump(size, 4096); }
void *pvalloc(size_t size) { return bump(size, 4096); }
size_t malloc_usable_size(void *block) { return block ? ((size_t *)block)[-1] : 0; }
#endif

int main(void) {
  LAW(is_mine(malloc(opaque_n(10))), "the program's malloc is passed by");
  char *copy = strdup("copied by the C library");
  LAW(is_mine(copy), "the C library does not use the program's malloc");
  free(copy);
  for (int i = 0; i < 1000; i++) free(malloc(i));
  LAW(calls > 1000, "%ld calls", calls);
  return 0;
}
