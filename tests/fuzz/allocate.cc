// Requests that can be met: malloc's family, operator new, and what poolalloc.h has beside them.
//
// Who may use it: the table of operations (interpreter.cc).
#include <new>
#include <utility>

#include "world.h"

namespace fuzz {
namespace {

struct Request {
  size_t size;
  size_t alignment;  // a power of two
  size_t count;      // size is a multiple of it
  int error;         // of a function that returns it
};
using Make = void* (*)(Request& request);

struct Kind {
  Make make;
  Maker maker;
  bool is_aligned;
  bool is_cleared;
};

template <typename Function>
void* or_null(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

constexpr size_t kPage = 4096;
size_t whole_pages(size_t size) { return size == 0 ? kPage : (size + kPage - 1) / kPage * kPage; }
size_t no_power(size_t alignment) { return alignment > 2 ? alignment - 1 : alignment; }
void* posix(Entry<int(void**, size_t, size_t)>& function, Request& r) {
  void* p = nullptr;
  if (r.alignment < sizeof(void*)) r.alignment = sizeof(void*);
  r.error = function(&p, r.alignment, r.size);
  if (r.error != 0) expect(p == nullptr && r.error == ENOMEM, "posix_memalign fails in a wrong way");
  return p;
}

const Kind kKinds[] = {
    {[](Request& r) { return entry::malloc(r.size); }, Maker::malloc, false, false},
    {[](Request& r) { return entry::calloc(r.count, r.size / r.count); }, Maker::malloc, false, true},
    {[](Request& r) { return entry::memalign(r.alignment, r.size); }, Maker::malloc, true, false},
    {[](Request& r) { return entry::_Znwm(r.size); }, Maker::new_one, false, false},
    {[](Request& r) { return entry::realloc(nullptr, r.size); }, Maker::malloc, false, false},
    {[](Request& r) { return entry::aligned_alloc(r.alignment, r.size); }, Maker::malloc, true, false},
    {[](Request& r) { return entry::_Znam(r.size); }, Maker::new_array, false, false},
    {[](Request& r) { return entry::calloc(r.size / r.count, r.count); }, Maker::malloc, false, true},
    {[](Request& r) { return posix(entry::posix_memalign, r); }, Maker::malloc, true, false},
    {[](Request& r) { return entry::reallocarray(nullptr, r.count, r.size / r.count); }, Maker::malloc, false, false},
    {[](Request& r) { return entry::_ZnwmRKSt9nothrow_t(r.size, &std::nothrow); }, Maker::new_one, false, false},
    {[](Request& r) { return entry::_ZnamRKSt9nothrow_t(r.size, &std::nothrow); }, Maker::new_array, false, false},
    {[](Request& r) { return entry::_ZnwmSt11align_val_t(r.size, r.alignment); }, Maker::new_one, true, false},
    {[](Request& r) { return entry::_ZnamSt11align_val_t(r.size, r.alignment); }, Maker::new_array, true, false},
    {[](Request& r) { return entry::_ZnwmSt11align_val_tRKSt9nothrow_t(r.size, r.alignment, &std::nothrow); },
     Maker::new_one, true, false},
    {[](Request& r) { return entry::_ZnamSt11align_val_tRKSt9nothrow_t(r.size, r.alignment, &std::nothrow); },
     Maker::new_array, true, false},
    {[](Request& r) { return entry::__libc_malloc(r.size); }, Maker::malloc, false, false},
    {[](Request& r) { return entry::__libc_calloc(r.count, r.size / r.count); }, Maker::malloc, false, true},
    {[](Request& r) { return entry::__libc_realloc(nullptr, r.size); }, Maker::malloc, false, false},
    {[](Request& r) { return entry::__libc_memalign(r.alignment, r.size); }, Maker::malloc, true, false},
    {[](Request& r) { return posix(entry::__posix_memalign, r); }, Maker::malloc, true, false},
    {[](Request& r) { return r.alignment = kPage, entry::valloc(r.size); }, Maker::malloc, true, false},
    {[](Request& r) { return r.alignment = kPage, entry::__libc_valloc(r.size); }, Maker::malloc, true, false},
    {[](Request& r) { return r.alignment = kPage, entry::pvalloc(std::exchange(r.size, whole_pages(r.size))); },
     Maker::malloc, true, false},
    {[](Request& r) { return r.alignment = kPage, entry::__libc_pvalloc(std::exchange(r.size, whole_pages(r.size))); },
     Maker::malloc, true, false},
    {[](Request& r) { return api::recalloc(nullptr, r.count, r.size / r.count); }, Maker::malloc, false, true},
    {[](Request& r) { return api::aligned_realloc(nullptr, r.alignment, r.size); }, Maker::malloc, true, false},
    {[](Request& r) { return entry::memalign(no_power(r.alignment), r.size); }, Maker::malloc, true, false},
};
constexpr unsigned kKindCount = sizeof kKinds / sizeof *kKinds;

// How a step divides a size into a product.
size_t count_in(const Step& step, size_t size) {
  const size_t count = step.other % 2 == 0 ? 1 : step.other % 4 == 1 ? 3 : 16;
  return size >= count ? count : 1;
}

Block* allocate(Lane& lane, const Kind& kind, const Step& step, size_t size) {
  const unsigned heap = heap_of_lane(lane);
  Request request{affordable(size), kind.is_aligned ? alignment_of(step) : 16, count_in(step, size), 0};
  request.size -= request.size % request.count;
  errno = kErrno;
  void* p = or_null([&] { return kind.make(request); });
  if (p == nullptr)
    return refused(heap, request.size, request.alignment, request.error != 0 ? request.error : errno), nullptr;
  expect(errno == kErrno, "a request that was met has changed errno", p, request.size);
  if (kind.is_cleared) zeros_check(p, request.size, "calloc is not zero");
  Block about{.asked = request.size, .alignment = request.alignment, .maker = kind.maker, .heap = uint8_t(heap)};
  about.is_large = is_large_for(request.alignment);
  about.is_cleared = kind.is_cleared;
  return block_add(p, about);
}

}  // namespace

void do_allocate(Lane& lane, const Step& step) {
  // One kind for all blocks of a step, or one after the other.
  const unsigned variant = step.variant();
  const bool is_mixed = variant >= 48;
  for (unsigned i = 0; i < step.count(); i++) {
    Block*& slot = lane.slots[(step.slot() + i) % kSlots];
    if (slot != nullptr) {
      block_free(slot, variant + i);
      slot = nullptr;
    }
    slot = allocate(lane, kKinds[(variant + (is_mixed ? i : 0)) % kKindCount], step, size_of(step, i));
  }
}

}  // namespace fuzz
