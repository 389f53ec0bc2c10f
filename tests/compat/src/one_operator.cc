// one_operator: a program that replaces operator new(size_t) and not delete, with -DONLY_NEW, or operator delete(void*)
// and not new, with -DONLY_DELETE; with both the two belong to each other by nothing but malloc. Always
// ([new.delete.single], [new.delete.array]): the forms that are not replaced end in those that are, and the blocks of
// either go where the others take them.
#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "check.h"

static long news, deletes;

#ifdef ONLY_NEW
void* operator new(std::size_t size) {
  news++;
  void* block = malloc(size ? size : 1);
  if (!block) throw std::bad_alloc();
  memset(block, 0x7e, size);
  return block;
}
constexpr bool kHasNew = true;
#else
constexpr bool kHasNew = false;
#endif
#ifdef ONLY_DELETE
void operator delete(void* block) noexcept {
  deletes++;
  free(block);
}
constexpr bool kHasDelete = true;
#else
constexpr bool kHasDelete = false;
#endif

template <typename Allocate, typename Release>
static void round_of(const char* name, Allocate allocate, Release release) {
  long news_before = news, deletes_before = deletes;
  unsigned char* block = static_cast<unsigned char*>(opaque(allocate(200)));
  LAW(block && news == news_before + kHasNew, "%s: the program's new was called %ld times", name, news - news_before);
  LAW(!kHasNew || block[199] == 0x7e, "%s: not what the program's new has made", name);
  release(block);
  LAW(deletes == deletes_before + kHasDelete, "%s: the program's delete was called %ld times", name,
      deletes - deletes_before);
}

int main() {
  using std::nothrow;
  for (int i = 0; i < 3000; i++) {
    round_of(
        "new", [](size_t n) { return ::operator new(n); }, [](void* p) { ::operator delete(p); });
    round_of(
        "new, sized delete", [](size_t n) { return ::operator new(n); },
        [](void* p) { ::operator delete (p, size_t{200}); });
    round_of(
        "nothrow", [](size_t n) { return ::operator new(n, nothrow); }, [](void* p) { ::operator delete(p, nothrow); });
    round_of(
        "new[]", [](size_t n) { return ::operator new[](n); }, [](void* p) { ::operator delete[](p); });
    round_of(
        "new[], sized", [](size_t n) { return ::operator new[](n); },
        [](void* p) { ::operator delete[](p, size_t{200}); });
    round_of(
        "nothrow[]", [](size_t n) { return ::operator new[](n, nothrow); },
        [](void* p) { ::operator delete[](p, nothrow); });
  }
  std::vector<std::unique_ptr<std::string>> kept;
  for (int i = 0; i < 2000; i++) kept.push_back(std::make_unique<std::string>(size_t(i % 300), 'x'));
  kept.clear();
  exercise_heap();
  return 0;
}
