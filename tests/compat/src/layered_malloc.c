/* layered_malloc.so: an allocator most of whose functions call others of it by their public names, as musl's do.
 * Always: a block is at least 16 bytes behind its size; nothing is used twice. layered_live is how many blocks there are. */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static char heap[64 << 20] __attribute__((aligned(4096)));
static size_t used;
static long live;

long layered_live(void) { return __atomic_load_n(&live, __ATOMIC_RELAXED); }

void *aligned_alloc(size_t alignment, size_t size) {
  if (size > sizeof heap || alignment > sizeof heap) return errno = ENOMEM, NULL;
  if (alignment < 16) alignment = 16;
  const size_t at = __atomic_fetch_add(&used, (size + 31) / 16 * 16 + alignment, __ATOMIC_RELAXED);
  if (at + size + 16 + alignment > sizeof heap) return errno = ENOMEM, NULL;
  const uintptr_t start = ((uintptr_t)heap + at + 16 + alignment - 1) / alignment * alignment;
  ((size_t *)start)[-1] = size;
  __atomic_fetch_add(&live, 1, __ATOMIC_RELAXED);
  return (void *)start;
}
size_t malloc_usable_size(void *block) { return block ? ((size_t *)block)[-1] : 0; }
void free(void *block) {
  if (block) __atomic_fetch_add(&live, -1, __ATOMIC_RELAXED);
}

void *malloc(size_t size) { return aligned_alloc(16, size); }
void *calloc(size_t count, size_t size) {
  void *block = malloc(count * size);
  return block ? memset(block, 0, count * size) : NULL;
}
void *realloc(void *block, size_t size) {
  void *moved = malloc(size);
  if (!block || !moved) return moved;
  const size_t before = malloc_usable_size(block);
  memcpy(moved, block, before < size ? before : size);
  free(block);
  return moved;
}
void *reallocarray(void *block, size_t count, size_t size) { return realloc(block, count * size); }
void *memalign(size_t alignment, size_t size) { return aligned_alloc(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) {
  void *block = memalign(alignment, size);
  if (!block) return ENOMEM;
  *out = block;
  return 0;
}
void *valloc(size_t size) { return memalign(4096, size); }
void *pvalloc(size_t size) { return valloc((size + 4095) / 4096 * 4096); }
void cfree(void *block) { free(block); }
