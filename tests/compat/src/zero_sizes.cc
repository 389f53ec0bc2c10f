// Requests for zero bytes by every function. Always: the pointers are not NULL, all different, different from live
// blocks, and freeable; realloc(p, 0) frees p and gives NULL, as glibc does.
#include "check.h"
#include <algorithm>
#include <new>
#include <vector>

static std::vector<void *> made;

static void *keep(const char *origin, void *block) {
  LAW(block, "%s gave NULL", origin);
  made.push_back(block);
  return block;
}

int main() {
  made.reserve(100000);
  for (int i = 0; i < 1000; i++) {
    void *aligned = nullptr;
    keep("malloc(0)", malloc(opaque_n(0)));
    keep("calloc(0, 8)", calloc(opaque_n(0), 8));
    keep("calloc(8, 0)", calloc(8, opaque_n(0)));
    keep("calloc(0, 0)", calloc(opaque_n(0), 0));
    keep("calloc(0, SIZE_MAX)", calloc(opaque_n(0), opaque_n(SIZE_MAX)));
    keep("realloc(NULL, 0)", realloc(nullptr, opaque_n(0)));
    keep("reallocarray(NULL, 0, 8)", reallocarray(nullptr, opaque_n(0), 8));
    LAW(posix_memalign(&aligned, 64, opaque_n(0)) == 0, "posix_memalign of 0");
    LAW((uintptr_t)keep("posix_memalign", aligned) % 64 == 0, "posix_memalign of 0 gave %p", aligned);
    LAW((uintptr_t)keep("aligned_alloc(64, 0)", aligned_alloc(64, opaque_n(0))) % 64 == 0, "aligned_alloc of 0");
    LAW((uintptr_t)keep("memalign(4096, 0)", memalign(4096, opaque_n(0))) % 4096 == 0, "memalign of 0");
    LAW((uintptr_t)keep("valloc(0)", valloc(opaque_n(0))) % 4096 == 0, "valloc of 0");
    LAW((uintptr_t)keep("pvalloc(0)", pvalloc(opaque_n(0))) % 4096 == 0, "pvalloc of 0");
    keep("operator new(0)", operator new(opaque_n(0)));
    keep("new char[0]", new char[opaque_n(0)]);
    keep("operator new(0, nothrow)", operator new(opaque_n(0), std::nothrow));
    keep("operator new(0, align)", operator new(opaque_n(0), std::align_val_t(128)));
    keep("malloc(1)", malloc(1));
  }
  std::vector<void *> sorted(made);
  std::sort(sorted.begin(), sorted.end());
  LAW(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "two requests gave the same pointer");

  std::vector<bool> gone(made.size());
  for (size_t i = 0; i < made.size(); i++) {
    if (i % 3 == 0) {
      made[i] = realloc(made[i], 100);  // zero-size blocks can grow
      LAW(made[i], "realloc of a block of 0 bytes");
      memset(made[i], 1, 100);
    }
    if (i % 5 == 0) {
      LAW(!realloc(made[i], opaque_n(0)), "realloc(p, 0) is not NULL");
      gone[i] = true;
    }
  }
  for (size_t i = 0; i < made.size(); i++)
    if (!gone[i]) free(made[i]);

  // If realloc(p, 0) did not free, this would keep a gigabyte.
  long before = rss_kib();
  for (int i = 0; i < 100000; i++) {
    void *block = malloc(10000);
    memset(block, 1, 10000);
    LAW(!realloc(block, opaque_n(0)), "realloc(p, 0) is not NULL");
  }
  LAW(rss_kib() < before + 64 * 1024, "realloc(p, 0) leaks: %ld KiB", rss_kib() - before);
  free(nullptr);
  LAW(malloc_usable_size(nullptr) == 0, "malloc_usable_size(NULL)");
  exercise_heap();
  return 0;
}
