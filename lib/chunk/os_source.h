// Buffers for a pool chain straight from the kernel: where the library's own records live.
//
// Always holds: buffers are whole OS pages, zeroed.
// Who may use it: chunk and heap.
#pragma once

#include "base/bits.h"
#include "os/os.h"
#include "pool/pool.h"

namespace poolalloc {

inline void* os_source_acquire(size_t size) { return os_map(round_up(size, os_page_size()), os_page_size()); }
inline void os_source_release(void* buffer, size_t size) { os_discard(buffer, round_up(size, os_page_size())); }

inline constexpr PoolSource kOsSource{os_source_acquire, os_source_release};
// Capacity of the first buffer of such a chain, bytes.
inline constexpr size_t kOsSourceCapacity = size_t{64} << 10;

}  // namespace poolalloc
