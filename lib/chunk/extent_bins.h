// Free extents by size, and dirty ones by when they were released.
//
// Always holds: bins have four sizes per doubling; an extent in bin i or above it has at least the least size of bin i;
// what was added last to a bin is found first.
// Synchronization: all under extents_lock.
// Who may use it: extent_space.cc and extents.cc.
#pragma once

#include "base/bits.h"
#include "chunk/extent.h"

namespace poolalloc {

struct ExtentBins {
  static constexpr unsigned kCount = 4 * (kAddressBits - kExtentShift + 1);

  Extent* first[kCount];
  uint64_t filled[kCount / 64 + 1];  // bit i: bin i has extents

  static constexpr unsigned index(size_t size) {
    unsigned doubling = log2_floor(size);
    return 4 * (doubling - kExtentShift) + unsigned(size >> (doubling - 2) & 3);
  }

  // The first bin from i on that has extents; kCount: none.
  unsigned from(unsigned i) const {
    for (unsigned word = i / 64; word < kCount / 64 + 1; word++, i = word * 64) {
      uint64_t bits = filled[word] >> (i % 64);
      if (bits != 0) return i + lowest_bit(bits);
    }
    return kCount;
  }

  // One of the largest; nullptr: there is none.
  Extent* largest() const {
    Extent* found = nullptr;
    largest_first([&](Extent* extent) {
      found = extent;
      return true;
    });
    return found;
  }

  // Calls visit(extent), the largest first, about, until it returns true.
  template <typename Visit>
  void largest_first(Visit visit) const {
    for (unsigned word = kCount / 64 + 1; word-- > 0;) {
      for (uint64_t bits = filled[word]; bits != 0; bits &= ~(uint64_t{1} << log2_floor(bits))) {
        for (Extent* each = first[word * 64 + log2_floor(bits)]; each != nullptr; each = each->next) {
          if (visit(each)) return;
        }
      }
    }
  }

  void add(Extent* extent) {
    unsigned i = index(extent->size);
    extent->previous = nullptr;
    extent->next = first[i];
    if (first[i] != nullptr) first[i]->previous = extent;
    first[i] = extent;
    filled[i / 64] |= uint64_t{1} << (i % 64);
  }

  void remove(Extent* extent) {
    unsigned i = index(extent->size);
    (extent->previous != nullptr ? extent->previous->next : first[i]) = extent->next;
    if (extent->next != nullptr) extent->next->previous = extent->previous;
    if (first[i] == nullptr) filled[i / 64] &= ~(uint64_t{1} << (i % 64));
  }
};

// Dirty extents, by when they were released.
struct DirtyQueue {
  Extent* newest;
  Extent* oldest;

  void add(Extent* extent) {
    extent->newer = nullptr;
    extent->older = newest;
    (newest != nullptr ? newest->newer : oldest) = extent;
    newest = extent;
  }

  void remove(Extent* extent) {
    (extent->newer != nullptr ? extent->newer->older : newest) = extent->older;
    (extent->older != nullptr ? extent->older->newer : oldest) = extent->newer;
  }
};

}  // namespace poolalloc
