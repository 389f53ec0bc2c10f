/* foreign <kind> <free|realloc|usable|all|none>: gives the allocator a pointer that is not the start of one of its blocks.
 * Always, if the call comes back: free changes nothing, realloc gives NULL and leaves the bytes, malloc_usable_size gives 0,
 * and the heap hands out disjoint blocks afterwards, none of which holds that pointer while its block is live. */
#include "check.h"
#include <sys/mman.h>

enum { guarded = 64 };
static char bss[4096];

static void *mapped(int protection) {
  char *pages = mmap(NULL, 65536, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  LAW(pages != MAP_FAILED, "mmap");
  return pages;
}

static void *from_another_libc(size_t size) {
  void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
  LAW(libc, "dlmopen: %s", dlerror());
  void *(*other_malloc)(size_t) = NULL;
  *(void **)&other_malloc = dlsym(libc, "malloc");
  LAW(other_malloc && !from_tested_lib((void *)other_malloc), "the other libc has no malloc of its own");
  return other_malloc(size);
}

/* A pointer of the kind, and in *live the block that surrounds it, if there is one. */
static char *pointer_of(const char *kind, char *stack, char **live, size_t *size) {
  size_t distance = 0;
  if (strcmp(kind, "stack") == 0) return stack;
  if (strcmp(kind, "bss") == 0) return bss + 1024;
  if (strcmp(kind, "mmap") == 0) return mapped(PROT_READ | PROT_WRITE);
  if (strcmp(kind, "sbrk") == 0) {
    char *area = sbrk(65536);
    LAW(area != (void *)-1, "sbrk");
    return area + 16384 - (uintptr_t)area % 4096;
  }
  if (strcmp(kind, "dlmopen") == 0) return from_another_libc(500);
  if (strcmp(kind, "dlmopen-large") == 0) return from_another_libc(5 * MIB);
  LAW(sscanf(kind, "inside-%zu+%zu", size, &distance) == 2, "unknown kind %s", kind);
  *live = malloc(*size);
  LAW(*live, "malloc(%zu)", *size);
  fill_some(*live, *size, 3);
  return *live + distance;
}

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  char stack[4096] __attribute__((aligned(64)));
  char *live = NULL;
  size_t size = 0;
  free(malloc(100));
  char *pointer = opaque(pointer_of(argv[1], stack + 1024, &live, &size));
  char before[guarded];
  memcpy(before, pointer, guarded);
  int all = strcmp(argv[2], "all") == 0;
  for (int round = 0; round < 3; round++) {
    if (all || strcmp(argv[2], "usable") == 0) LAW(malloc_usable_size(pointer) == 0, "usable size of a foreign pointer");
    if (all || strcmp(argv[2], "realloc") == 0) {
      LAW(!realloc(pointer, 1000), "realloc took a foreign pointer");
      LAW(!realloc(pointer, 1), "realloc took a foreign pointer");
    }
    if (all || strcmp(argv[2], "free") == 0) {
      errno = 12345;
      free(pointer);
      LAW(errno == 12345, "free of a foreign pointer changed errno to %d", errno);
    }
    LAW(memcmp(before, pointer, guarded) == 0, "the foreign bytes have changed");
  }

  enum { most = 3000 };
  static char *made[most];
  size_t each = size && size < 100000 ? size : 1000;
  int count = each < 5000 ? most : most / 10;
  for (int i = 0; i < count; i++) {
    made[i] = malloc(each);
    LAW(made[i], "malloc");
    LAW(pointer < made[i] || pointer >= made[i] + each, "the foreign pointer was handed out");
    LAW(!live || made[i] + each <= live || live + size <= made[i], "a live block was handed out");
    fill(made[i], each, i);
  }
  for (int i = 0; i < count; i++) {
    LAW(filled(made[i], each, i), "blocks overlap");
    free(made[i]);
  }
  if (live) {
    LAW(filled_some(live, size, 3), "the surrounding block has changed");
    free(live);
  }
  exercise_heap();
  return 0;
}
