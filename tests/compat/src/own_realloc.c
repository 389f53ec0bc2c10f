/* own_realloc: a program with a malloc, calloc, realloc and free of its own, and nothing else of the family; glibc's reallocarray
 * goes to its realloc. */
#include "check.h"

static char heap[8 << 20] __attribute__((aligned(16)));
static size_t used;

static size_t *header(void *block) { return (size_t *)block - 2; }

void *malloc(size_t size) {
  size = (size + 15) / 16 * 16;
  size_t *start = (size_t *)(heap + used);
  if (used + size + 16 > sizeof heap) return NULL;
  used += size + 16;
  *start = size;
  return start + 2;
}

void free(void *block) { (void)block; }
void *calloc(size_t count, size_t size) {
  void *block = malloc(count * size);
  return block ? memset(block, 0, count * size) : NULL;
}

void *realloc(void *block, size_t size) {
  void *moved = malloc(size);
  if (!block || !moved) return moved;
  return memcpy(moved, block, *header(block) < size ? *header(block) : size);
}

int main(void) {
  char *block = malloc(20);
  strcpy(block, "kept");
  char *array = reallocarray(block, 10, 20);
  LAW(array && !strcmp(array, "kept"), "reallocarray gave %p, errno %d", (void *)array, errno);
  LAW(array > heap && array < heap + sizeof heap, "not by the program's realloc");
  errno = 0;
  LAW(!reallocarray(array, opaque_n(SIZE_MAX / 2), 3) && errno == ENOMEM, "the product is not checked");
  return 0;
}
