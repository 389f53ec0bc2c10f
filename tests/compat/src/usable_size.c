/* malloc_usable_size as programs use it. Always: at least what was asked; all of it may be written; it does not change
 * while neighbours come and go; realloc to it keeps the block where it is. */
#include "check.h"

static void one_size(size_t size) {
  enum { most = 8 };
  int count = size < 100 * KIB ? most : 2;
  char *block[most], *neighbour[most];
  size_t room[most];
  for (int i = 0; i < count; i++) {
    block[i] = i % 2 ? malloc(size) : calloc(1, size);
    neighbour[i] = malloc(size);
    LAW(block[i] && neighbour[i], "malloc(%zu)", size);
    room[i] = malloc_usable_size(block[i]);
    LAW(room[i] >= size, "usable size %zu of %zu", room[i], size);
    LAW(room[i] <= size + size / 4 + page_size() + 64, "usable size %zu of %zu wastes too much", room[i], size);
    fill(block[i], room[i], i);
    fill(neighbour[i], malloc_usable_size(neighbour[i]), i + 100);
  }
  for (int i = 0; i < count; i++) {
    neighbour[i] = realloc(neighbour[i], size * 2 + 1);
    LAW(neighbour[i], "realloc(%zu)", size * 2 + 1);
  }
  for (int i = 0; i < count; i++) {
    LAW(malloc_usable_size(block[i]) == room[i], "the usable size of %zu changed", size);
    LAW(filled(block[i], room[i], i), "the usable bytes of %zu changed", size);
    char *same = realloc(block[i], room[i]);
    LAW(same == block[i], "realloc from %zu to its usable size %zu moved the block", size, room[i]);
    LAW(malloc_usable_size(same) == room[i] && filled(same, room[i], i), "realloc to the usable size changed the block");
  }
  for (int i = 0; i < count; i++) {
    free(block[i]);
    free(neighbour[i]);
  }
}

int main(void) {
  for (size_t size = 1; size < 3000; size++) one_size(size);
  for (size_t size = 3000; size < 12 * MIB; size += size / 9) one_size(size);
  void *aligned = memalign(4096, 100);
  fill(aligned, malloc_usable_size(aligned), 1);
  free(aligned);
  return 0;
}
