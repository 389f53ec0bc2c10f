// From an address to the extents that start and end near it (extent.h).
//
// Three levels, each covering a part of the one above: 64 GiB, 64 MiB, 32 KiB. The lower two are made where there are
// extents, and never go.
//
// Always holds: every unit that an extent touches has an entry.
// Synchronization: tables are added under extents_lock and published with release; looking is lock-free.
// Who may use it: extent_space.cc, extents.cc.
#pragma once

#include "chunk/extent.h"

namespace poolalloc {

struct ExtentUnit {
  Atomic<Extent*> starting;  // the extent that starts in the unit; nullptr: none does
  Extent* ending;            // the one that ends in it. Synchronization: extents_lock
};

inline constexpr unsigned kExtentLeafShift = 26;
inline constexpr unsigned kExtentBranchShift = 36;

struct ExtentMapLeaf {
  ExtentUnit units[size_t{1} << (kExtentLeafShift - kExtentShift)];
};
struct ExtentMapBranch {
  Atomic<ExtentMapLeaf*> leaves[size_t{1} << (kExtentBranchShift - kExtentLeafShift)];
};
struct ExtentMap {
  Atomic<ExtentMapBranch*> branches[size_t{1} << (kAddressBits - kExtentBranchShift)];
};
extern constinit ExtentMap extent_map;

// The entry of the unit that contains the address; nullptr: there is none.
ExtentUnit* extent_unit(uintptr_t address);

// The extent with the lowest start from `address` on; nullptr: none. Looks at one unit after the other; extents_lock
// held.
Extent* extent_from(uintptr_t address);

// The extent that contains `address`; nullptr: none. Looks at one unit after the other; extents_lock held.
Extent* extent_around(uintptr_t address);

// All with extents_lock held. Makes entries for [start, start+size); false: no memory.
bool extent_map_cover(uintptr_t start, size_t size);
// Sees to it that the next extent_map_cover of so many bytes, wherever they are, does not fail; false: no memory.
bool extent_map_reserve(size_t size);
// Gives up what was reserved.
void extent_map_forget_spares();

}  // namespace poolalloc
