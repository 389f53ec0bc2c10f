// Bit and rounding arithmetic.
//
// Always holds: pure functions, no state; `alignment` arguments are powers of two.
// Who may use it: everybody.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace poolalloc {

constexpr bool is_power_of_two(size_t x) { return x != 0 && (x & (x - 1)) == 0; }

// Rounds up; wraps to 0 when the result does not fit, so callers bound `x` first.
constexpr size_t round_up(size_t x, size_t alignment) { return (x + alignment - 1) & ~(alignment - 1); }
constexpr size_t round_down(size_t x, size_t alignment) { return x & ~(alignment - 1); }
constexpr size_t divide_up(size_t x, size_t divisor) { return x / divisor + (x % divisor != 0); }

// Index of the highest set bit; x != 0.
constexpr unsigned log2_floor(uint64_t x) { return 63u - unsigned(__builtin_clzll(x)); }
constexpr unsigned log2_ceil(uint64_t x) { return x <= 1 ? 0 : log2_floor(x - 1) + 1; }
// Index of the lowest set bit; x != 0.
constexpr unsigned lowest_bit(uint64_t x) { return unsigned(__builtin_ctzll(x)); }
constexpr unsigned bit_count(uint64_t x) { return unsigned(__builtin_popcountll(x)); }

inline uintptr_t address_of(const volatile void* p) { return reinterpret_cast<uintptr_t>(p); }
template <typename T = void>
inline T* pointer_to(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}
template <typename T = char>
inline T* byte_offset(void* p, size_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(p) + offset);
}

}  // namespace poolalloc
