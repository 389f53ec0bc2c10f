// C++ operator new's laws: the new_handler is called until it gives up, then std::bad_alloc.
//
// Always holds ([new.delete.single], [new.delete.array]): a throwing form never returns nullptr; a
// nothrow form never throws. The C++ runtime is looked for only when memory has run out, because the
// library does not depend on it.
// Who may use it: interpose.
#pragma once

#include "api/malloc_api.h"

namespace poolalloc {

// After a failed allocation: handlers, then an exception, or nullptr. Alignment 0: none asked for. `caller`: code of
// who wants the memory; nullptr: not known.
void* new_failed(size_t size, size_t alignment, Maker maker, const void* caller);
void* new_failed_nothrow(size_t size, size_t alignment, Maker maker, const void* caller);

// Each for one object, and for arrays; inlined into the entries, whose callers they see.
template <Maker maker = Maker::new_one>
PA_INLINE void* api_new(size_t size) {
  void* block = malloc_for(maker, size);
  return PA_LIKELY(block != nullptr) ? block : new_failed(size, 0, maker, __builtin_return_address(0));
}
template <Maker maker = Maker::new_one>
PA_INLINE void* api_new_nothrow(size_t size) {
  void* block = malloc_for(maker, size);
  return PA_LIKELY(block != nullptr) ? block : new_failed_nothrow(size, 0, maker, __builtin_return_address(0));
}
template <Maker maker = Maker::new_one>
PA_INLINE void* api_new_aligned(size_t size, size_t alignment) {
  void* block = memalign_for(maker, alignment, size);
  return PA_LIKELY(block != nullptr) ? block : new_failed(size, alignment, maker, __builtin_return_address(0));
}
template <Maker maker = Maker::new_one>
PA_INLINE void* api_new_aligned_nothrow(size_t size, size_t alignment) {
  void* block = memalign_for(maker, alignment, size);
  return PA_LIKELY(block != nullptr) ? block : new_failed_nothrow(size, alignment, maker, __builtin_return_address(0));
}

}  // namespace poolalloc
