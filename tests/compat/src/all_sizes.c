/* all_sizes <small|powers|aligned|aligned-large> [stride]: blocks of all sizes and alignments, many live at once.
 * Always: each is aligned (malloc: to 16), at least as large as asked, keeps its pattern until it is freed, and overlaps
 * no other one. */
#include "check.h"

enum { most = 1024 };
static struct { char *start; size_t size, room; unsigned seed; } live[most];
static int count;

static int by_start(const void *a, const void *b) {
  const char *const left = *(char *const *)a, *const right = *(char *const *)b;
  return left < right ? -1 : left > right;
}

static void judge_and_free(void) {
  qsort(live, count, sizeof *live, by_start);
  for (int i = 0; i < count; i++) {
    LAW(i + 1 == count || live[i].start + live[i].room <= live[i + 1].start, "a block of %zu at %p overlaps the next",
        live[i].size, (void *)live[i].start);
    LAW(filled_some(live[i].start, live[i].size, live[i].seed), "a block of %zu bytes has changed", live[i].size);
    free(live[i].start);
  }
  count = 0;
}

static void keep(char *start, size_t size, size_t alignment) {
  LAW(start, "no block of %zu aligned to %zu: %s", size, alignment, strerror(errno));
  LAW((uintptr_t)start % alignment == 0, "%p for a size of %zu aligned to %zu", (void *)start, size, alignment);
  size_t room = malloc_usable_size(start);
  LAW(room >= size, "usable size %zu for a size of %zu aligned to %zu", room, size, alignment);
  live[count].start = start;
  live[count].size = size;
  live[count].room = room ? room : 1;
  live[count].seed = (unsigned)(size + count);
  fill_some(start, size, live[count].seed);
  if (++count == most) judge_and_free();
}

static void keep_aligned(size_t size, size_t alignment) {
  void *start = NULL;
  if (size % 2) {
    start = memalign(alignment, size);
  } else {
    int error = posix_memalign(&start, alignment < 8 ? 8 : alignment, size);
    LAW(error == 0, "posix_memalign(%zu, %zu): %d", alignment, size, error);
  }
  keep(start, size, alignment);
}

int main(int argc, char **argv) {
  LAW(argc >= 2, "usage");
  size_t stride = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
  if (strcmp(argv[1], "small") == 0) {
    for (size_t size = 0; size <= 64 * KIB; size += stride) keep(malloc(size), size, size ? 16 : 1);
    for (size_t size = 0; size <= 64 * KIB; size += 7 * stride) keep(calloc(1, size), size, size ? 16 : 1);
  }
  if (strcmp(argv[1], "powers") == 0)
    for (size_t power = 1; power <= 4 * GIB; power *= 2) {
      for (size_t size = power - 1; size <= power + 1; size++) {
        keep(malloc(size), size, size ? 16 : 1);
        for (size_t alignment = 1; alignment <= GIB; alignment *= 32) keep_aligned(size, alignment);
      }
      if (power >= MIB) judge_and_free();
    }
  if (strcmp(argv[1], "aligned") == 0)
    for (size_t alignment = 1; alignment <= 64 * KIB; alignment *= 2)
      for (size_t size = alignment % 7; size <= 64 * KIB; size += stride) keep_aligned(size, alignment);
  if (strcmp(argv[1], "aligned-large") == 0)
    for (size_t alignment = 128 * KIB; alignment <= GIB; alignment *= 2) {
      for (size_t size = alignment % 7; size <= 64 * KIB; size += stride) {
        keep_aligned(size, alignment);
        if (count * alignment > 32 * GIB) judge_and_free();
      }
      judge_and_free();
    }
  judge_and_free();
  return 0;
}
