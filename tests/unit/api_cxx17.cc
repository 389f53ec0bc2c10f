// <poolalloc.h> in a C++17 program: it compiles under -pedantic, next to names of the program's own.
//
// Always holds: exits 0, or says on stderr which line's law is violated and exits 1. With an argument
// it only shows that it compiles and links.
#define POOLALLOC_NO_SHORT_NAMES
#include <poolalloc.h>

#include <cstdint>
#include <cstdio>
#include <new>
#include <type_traits>

static_assert(std::is_trivially_copyable_v<poolalloc_pool> && std::is_standard_layout_v<poolalloc_pool>);

// Without the short names these are the program's.
struct Pool {
  int depth;
};
static int pool_alloc(int x) { return x + 1; }
static int pool_free(int x) { return x - 1; }

struct Node {
  Node* next;
  int value;
};

#define LAW(condition)                                                     \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      return 1;                                                            \
    }                                                                      \
  } while (0)

int main(int argc, char**) {
  if (argc > 1) return 0;
  LAW(pool_alloc(pool_free(1)) == 1);

  LAW(Pool{3}.depth == 3);

  poolalloc_pool pool = poolalloc_pool_init(100);
  Node* list = nullptr;
  for (int i = 0; i < 10000; i++) {
    void* p = poolalloc_pool_alloc(&pool, sizeof(Node));
    LAW(p != nullptr && reinterpret_cast<std::uintptr_t>(p) % alignof(Node) == 0);
    list = new (p) Node{list, i};
  }
  int expected = 9999;
  for (Node* each = list; each != nullptr; each = each->next) LAW(each->value == expected--);
  LAW(expected == -1);
  poolalloc_pool_free(&pool);
  return 0;
}
