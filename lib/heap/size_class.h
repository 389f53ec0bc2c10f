// Size classes: which block size serves a request.
//
// Always holds: classes ascend; sizes are multiples of 16 up to 128 and eight per doubling above, so
// at most 15 bytes or 12.5 % of a block are lost; a request that is a multiple of a power of two (up to a slice)
// gets a block whose size is one too, which is what aligned allocation rests on.
// Who may use it: heap and above. Pure functions and constant tables.
#pragma once

#include "base/bits.h"
#include "base/constants.h"
#include "pool/block_pool.h"

namespace poolalloc {

inline constexpr unsigned kLinearClasses = 8;  // 16, 32, ... 128
inline constexpr unsigned kLinearShift = 7;    // log2 of the largest of them
inline constexpr unsigned kClassCount = kLinearClasses + 8 * (log2_floor(kPoolBlockMax) - kLinearShift);

// The class of a request of 1 <= size <= kPoolBlockMax bytes; 0 is served like 1.
constexpr unsigned size_class_compute(size_t size) {
  if (size <= 128) return size <= 16 ? 0 : unsigned((size + 15) / 16 - 1);
  unsigned doubling = log2_floor(size - 1);                      // 2^doubling <= size - 1
  unsigned eighth = unsigned((size - 1) >> (doubling - 3)) & 7;  // which eighth of it
  return kLinearClasses + (doubling - kLinearShift) * 8 + eighth;
}

constexpr size_t class_size_compute(unsigned size_class) {
  if (size_class < kLinearClasses) return (size_class + 1) * 16;
  unsigned above = size_class - kLinearClasses;
  return size_t(9 + above % 8) << (above / 8 + kLinearShift - 3);
}

struct SizeClassTables {
  uint8_t small[kSmallMax / 16 + 1];  // by (size + 15) / 16
  uint32_t size[kClassCount];         // bytes
};

constexpr SizeClassTables size_class_tables_compute() {
  SizeClassTables tables{};
  for (unsigned i = 0; i <= kSmallMax / 16; i++) tables.small[i] = uint8_t(size_class_compute(i * 16));
  for (unsigned c = 0; c < kClassCount; c++) tables.size[c] = uint32_t(class_size_compute(c));
  return tables;
}

inline constexpr SizeClassTables kSizeClasses = size_class_tables_compute();

inline unsigned size_class_of(size_t size) {
  return size <= kSmallMax ? kSizeClasses.small[(size + 15) / 16] : size_class_compute(size);
}
inline size_t class_size(unsigned size_class) { return kSizeClasses.size[size_class]; }

// Blocks of more bytes than this never have huge pages: their sizes are whole small pages, and what a block does not
// need of them is lost in huge ones only.
inline constexpr size_t kHugeBlockMax = size_t{32} << 10;

// Whether the class has pools of one slice, which fill up. Wider blocks may be stacks, or buffers of which little is
// used.
inline bool class_is_narrow(unsigned size_class) { return class_size(size_class) <= kNarrowBlockMax; }

// Slices of the next pool of this class for a heap that has `pool_count` of them. Wide pools start
// small, because their unused part would be resident in a huge page.
inline unsigned class_slices(unsigned size_class, unsigned pool_count) {
  size_t size = class_size(size_class);
  if (class_is_narrow(size_class)) return 1;
  unsigned least = size <= 2 * kNarrowBlockMax ? 2 : 4;
  unsigned wanted = least << (pool_count < 2 ? pool_count : 2);
  return wanted < kWidePoolSlices ? wanted : kWidePoolSlices;
}

static_assert(class_size_compute(kClassCount - 1) == kPoolBlockMax);
static_assert(size_class_compute(kPoolBlockMax) == kClassCount - 1);
static_assert(kClassCount <= 255);

}  // namespace poolalloc
