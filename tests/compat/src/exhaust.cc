// exhaust: under a limit of address space, blocks are allocated until there are no more, then freed, several times over.
// Always: NULL with ENOMEM, or std::bad_alloc, within a second; all that was live keeps its bytes; after freeing there
// is as much as before (nine tenths).
#include "check.h"
#include <new>

static void **made;
static const size_t most = 4000000;

static size_t allocate_all(size_t size, bool by_new) {
  size_t count = 0;
  for (; count < most; count++) {
    double start = now_s();
    errno = 0;
    void *block = nullptr;
    bool thrown = false;
    if (by_new) {
      try {
        block = operator new(size);
      } catch (const std::bad_alloc &) {
        thrown = true;
      }
      LAW(block || thrown, "operator new gave NULL");
    } else {
      block = malloc(size);
    }
    LAW(now_s() - start < 1, "one request took %.1f s", now_s() - start);
    if (!block) {
      LAW(by_new || errno == ENOMEM, "errno %d", errno);
      break;
    }
    fill_some(block, size < 64 ? size : 64, (unsigned)count);
    made[count] = block;
  }
  return count;
}

static void free_all(size_t count, size_t size) {
  for (size_t i = 0; i < count; i++) {
    LAW(filled_some(made[i], size < 64 ? size : 64, (unsigned)i), "a block has changed when memory ran out");
    errno = 12345;
    free(made[i]);
    LAW(errno == 12345, "free changed errno");
  }
}

int main() {
  made = static_cast<void **>(malloc(most * sizeof *made));
  LAW(made, "the list");
  static const size_t sizes[] = {1000, 100000, 3000000, 20000};
  for (size_t size : sizes)
    for (int by_new = 0; by_new < 2; by_new++) {
      size_t first = allocate_all(size, by_new);
      LAW(first * size > 200 * MIB, "only %zu blocks of %zu bytes", first, size);
      void *failed = realloc(made[0], 2000 * MIB);
      LAW(!failed && errno == ENOMEM, "realloc without memory");
      LAW(!calloc(1000, MIB * 2) && errno == ENOMEM, "calloc without memory");
      free_all(first, size);
      malloc_trim(0);
      size_t second = allocate_all(size, by_new);
      LAW(second >= first / 10 * 9, "%zu blocks of %zu bytes at first, then %zu", first, size, second);
      free_all(second, size);
    }
  free(made);
  exercise_heap();
  return 0;
}
