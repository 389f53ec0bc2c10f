/* A growing array in the way of programs that use malloc_usable_size under _FORTIFY_SOURCE=3: the size the compiler knows
 * is widened by a function with alloc_size before the rest is written. Always: the writes are neither refused by the
 * fortified functions nor harmful. */
#include "check.h"

#ifndef __OPTIMIZE__
#error "_FORTIFY_SOURCE needs optimisation"
#endif

__attribute__((noinline, alloc_size(2))) static void *widened(void *block, size_t size) {
  (void)size;
  return opaque(block);
}

static void *grown(void *block, size_t *have, size_t count, size_t each) {
  if (*have >= count) return block;
  block = reallocarray(block, count + count / 2, each);
  LAW(block, "reallocarray");
  size_t room = malloc_usable_size(block);
  block = widened(block, room);
  memset((char *)block + *have * each, 0, room / each * each - *have * each);
  *have = room / each;
  return block;
}

int main(void) {
  for (size_t each = 1; each < 100; each += 7) {
    unsigned char *array = NULL;
    size_t have = 0;
    for (size_t count = 1; count < 20000; count += count / 3 + 1) {
      array = grown(array, &have, count, each);
      LAW(have >= count && all_zero(array + (count - 1) * each, each), "the grown part is not zero");
      memset(array, 1, count * each);
      memset(array + count * each, 0, (have - count) * each);
    }
    free(array);
    char *text = malloc(each);
    size_t room = malloc_usable_size(text);
    text = widened(text, room);
    snprintf(text, room, "%.*s", (int)room - 1, "twenty-four characters..");
    strncpy(text, "padded", room);
    LAW(memcmp(text, "padded", each < 6 ? each : 6) == 0, "strncpy over the usable size");
    free(text);
  }
  exercise_heap();
  return 0;
}
