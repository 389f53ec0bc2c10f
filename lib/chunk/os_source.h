// Buffers for a pool chain straight from the kernel: where the library's own records live.
//
// Always holds: buffers are whole OS pages, zeroed; in the hardened library with an inaccessible page at either end.
// Who may use it: chunk and heap.
#pragma once

#include "base/bits.h"
#include "base/policy.h"
#include "os/os.h"
#include "pool/pool.h"

namespace poolalloc {

inline void* os_source_acquire(size_t size) {
  const size_t whole = round_up(size, os_page_size()), guard = kHardened ? os_page_size() : 0;
  char* memory = static_cast<char*>(os_map(whole + 2 * guard, os_page_size()));
  if (memory == nullptr || guard == 0) return memory;
  os_protect(memory, guard, false);
  os_protect(memory + guard + whole, guard, false);
  return memory + guard;
}
inline void os_source_release(void* buffer, size_t size) {
  const size_t whole = round_up(size, os_page_size()), guard = kHardened ? os_page_size() : 0;
  os_discard(static_cast<char*>(buffer) - guard, whole + 2 * guard);
}

inline constexpr PoolSource kOsSource{os_source_acquire, os_source_release};
// Capacity of the first buffer of such a chain, bytes.
inline constexpr size_t kOsSourceCapacity = size_t{64} << 10;

}  // namespace poolalloc
