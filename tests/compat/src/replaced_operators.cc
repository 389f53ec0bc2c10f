// replaced_operators: a program that replaces some of operator new and delete: those with -DBASE, -DARRAY, -DALIGNED.
// Always ([new.delete.single], [new.delete.array]): every other form reaches the program's, so that what comes from it
// goes back to it.
#include <algorithm>
#include <cstddef>
#include <new>
#include <vector>

#include "check.h"

static long base_live, array_live, aligned_live;
static long base_calls, array_calls, aligned_calls;
static bool refuses;

// In front of each block: whose it is. 64 bytes, so that alignment is kept.
struct alignas(64) Tag {
  const void *owner;
};

UNUSED static void *tagged(std::size_t size, const void *owner) {
  if (refuses) throw std::bad_alloc();
  Tag *tag = static_cast<Tag *>(aligned_alloc(64, (size + sizeof(Tag) + 63) / 64 * 64));
  if (!tag) throw std::bad_alloc();
  tag->owner = owner;
  return tag + 1;
}

UNUSED static void untagged(void *block, const void *owner, const char *name) {
  Tag *tag = static_cast<Tag *>(block) - 1;
  LAW(tag->owner == owner, "%s got a block that is not of its operator new", name);
  tag->owner = nullptr;
  free(tag);
}

#define REPLACE(kind, name_new, name_delete, new_parameters, delete_parameters) \
  void *name_new new_parameters { return kind##_live++, kind##_calls++, tagged(size, &kind##_live); } \
  void name_delete delete_parameters noexcept { \
    if (p) kind##_live--, untagged(p, &kind##_live, #name_delete); \
  }
#ifdef BASE
REPLACE(base, operator new, operator delete, (std::size_t size), (void *p))
#endif
#ifdef ARRAY
REPLACE(array, operator new[], operator delete[], (std::size_t size), (void *p))
#endif
#ifdef ALIGNED
REPLACE(aligned, operator new, operator delete, (std::size_t size, std::align_val_t), (void *p, std::align_val_t))
#endif

// One of the six must be called for this form where the program has it, or else none.
#ifdef BASE
#define BASE_CALLS 1
#else
#define BASE_CALLS 0
#endif
#ifdef ARRAY
#define ARRAY_CALLS 1
#else
#define ARRAY_CALLS 0
#endif
#ifdef ALIGNED
#define ALIGNED_CALLS 1
#else
#define ALIGNED_CALLS 0
#endif

#define ROUND(wanted_base, wanted_array, wanted_aligned, allocate, release) \
  do { \
    base_calls = array_calls = aligned_calls = 0; \
    void *p = allocate; \
    LAW(p && base_calls == (wanted_base) && array_calls == (wanted_array) && aligned_calls == (wanted_aligned), \
        "%s called the program's %ld, %ld, %ld times", #allocate, base_calls, array_calls, aligned_calls); \
    fill(p, 100, 1); \
    release; \
    LAW(base_live + array_live + aligned_live == 0, "%s did not reach the program's", #release); \
  } while (0)

int main() {
  constexpr std::align_val_t kAlign{64};
  using std::nothrow;
  const int single = BASE_CALLS, array = ARRAY_CALLS ? 0 : BASE_CALLS;
#define BOTH(base_n, array_n, aligned_n, allocate, ...) ROUND(base_n, array_n, aligned_n, allocate, __VA_ARGS__)
  BOTH(single, 0, 0, ::operator new(100), ::operator delete(p));
  BOTH(single, 0, 0, ::operator new(100), ::operator delete(p, std::size_t{100}));
  BOTH(single, 0, 0, ::operator new(100), ::operator delete(p, nothrow));
  BOTH(single, 0, 0, ::operator new(100, nothrow), ::operator delete(p));
  BOTH(array, ARRAY_CALLS, 0, ::operator new[](100), ::operator delete[](p));
  BOTH(array, ARRAY_CALLS, 0, ::operator new[](100), ::operator delete[](p, std::size_t{100}));
  BOTH(array, ARRAY_CALLS, 0, ::operator new[](100), ::operator delete[](p, nothrow));
  BOTH(array, ARRAY_CALLS, 0, ::operator new[](100, nothrow), ::operator delete[](p));
  BOTH(0, 0, ALIGNED_CALLS, ::operator new(100, kAlign), ::operator delete(p, kAlign));
  BOTH(0, 0, ALIGNED_CALLS, ::operator new(100, kAlign), ::operator delete(p, std::size_t{100}, kAlign));
  BOTH(0, 0, ALIGNED_CALLS, ::operator new(100, kAlign), ::operator delete(p, kAlign, nothrow));
  BOTH(0, 0, ALIGNED_CALLS, ::operator new(100, kAlign, nothrow), ::operator delete(p, kAlign));
  BOTH(0, 0, ALIGNED_CALLS, ::operator new[](100, kAlign), ::operator delete[](p, kAlign));
  BOTH(0, 0, ALIGNED_CALLS, ::operator new[](100, kAlign), ::operator delete[](p, std::size_t{100}, kAlign));
  BOTH(0, 0, ALIGNED_CALLS, ::operator new[](100, kAlign), ::operator delete[](p, kAlign, nothrow));
  BOTH(0, 0, ALIGNED_CALLS, ::operator new[](100, kAlign, nothrow), ::operator delete[](p, kAlign));
  // libstdc++ asks for a buffer with nothrow and gives it back without.
  std::vector<int> numbers;
  for (int i = 0; i < 1000; i++) numbers.push_back(i * 7919 % 1000);
  std::stable_sort(numbers.begin(), numbers.end());
  LAW(std::is_sorted(numbers.begin(), numbers.end()), "not sorted");
  // What the program's throws, the nothrow forms do not let through.
  refuses = true;
  if (BASE_CALLS) LAW(!::operator new(100, nothrow) && !::operator new[](100, nothrow), "nothrow forms ask others");
  if (ALIGNED_CALLS) LAW(!::operator new(100, kAlign, nothrow), "the aligned nothrow form asks others");
  refuses = false;
  return 0;
}
