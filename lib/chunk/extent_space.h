// The address space that extents share: putting and erasing them, joining free ones, taking more from the kernel.
//
// Always holds: extent.h's equations, but that between an erasure and what takes its place there is a gap.
// Synchronization: everything under extents_lock.
// Who may use it: extents.cc.
#pragma once

#include "chunk/extent_bins.h"
#include "os/os.h"

namespace poolalloc {

struct ExtentSpace {
  ExtentTotals totals;
  ExtentBins clean, dirty;
  DirtyQueue queue;
  size_t mapped_size;
  unsigned huge_count;  // extents with huge pages asked for
  bool is_locked;       // what was mapped last is locked memory, faulted in at once
};
extern constinit ExtentSpace extent_space;

inline uintptr_t extent_start(const Extent* extent) { return extent->start.load_relaxed(); }
inline uintptr_t extent_end(const Extent* extent) { return extent_start(extent) + extent->size; }
inline bool extent_is_free(const Extent* extent) {
  return extent->state == ExtentState::clean || extent->state == ExtentState::dirty;
}

// Of a free extent, what has been in use before.
inline size_t extent_used_size(const Extent* extent) { return extent->used_pages * os_page_size(); }

// The extent that starts at an address, and the one that ends there; nullptr: there is none.
Extent* extent_at(uintptr_t start);
Extent* extent_before(uintptr_t end);

// What extents have in common that may be joined.
struct ExtentKind {
  ExtentState state;
  bool is_huge;
  uint16_t mapping;
  bool operator==(const ExtentKind&) const = default;
};
inline ExtentKind kind_of(const Extent* extent) { return {extent->state, extent->is_huge, extent->mapping}; }

// Sees to it that the next `count` extents can be put; false: no memory.
bool extents_reserve(unsigned count);
// Describes an extent where none is, with a record that was reserved, or that of one that was erased. Its other fields
// are the caller's.
Extent* extent_put(uintptr_t start, size_t size, ExtentKind kind);
// An extent that is no free one, or none any more: nothing is there afterwards.
void extent_erase(Extent* extent);
// Changes the size of a block.
void extent_set_size(Extent* block, size_t size);
// Notes that the kernel has been told otherwise about huge pages.
void extent_set_huge(Extent* extent, bool is_huge);
// Tells it, if that is worth a mapping, and if the option leaves it to us.
void extent_advise(Extent* block, bool wanted);
// What was dirty has been given back. There are no huge pages for it until they are asked for anew, so that clean
// extents join.
void kind_cleaned(uintptr_t start, size_t size, ExtentKind* kind);

// Makes a free extent where none is, one with its neighbours of the same kind.
Extent* free_insert(uintptr_t start, size_t size, ExtentKind kind, size_t used_pages);
// Erases a free extent.
void free_erase(Extent* extent);

// What the kernel is told of it (os_name).
inline constexpr char kExtentsName[] = "poolalloc:large";

// Takes new address space, of which `size` bytes can be had from a multiple of `alignment` on, as a clean extent; which
// one, nullptr: no memory.
Extent* space_add(size_t size, size_t alignment);
// Tells the kernel of memory that is new to it what the option says for all; whether it has huge pages therefore.
bool space_advise(void* start, size_t size);
// Accounts address space that has come, or gone.
void space_account(int64_t size);

// The equations of extent.h; extents_lock held.
bool extents_are_valid();

}  // namespace poolalloc
