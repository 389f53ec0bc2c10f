// From an address to the record of its unit (extent.h).
//
// Three levels, each covering a part of the one above: 64 GiB, 64 MiB, 32 KiB. The lower two are made where there are
// extents, and never go.
//
// Always holds: every unit that an extent touches has a record. A record without an extent is zero.
// Synchronization: tables are added under extents_lock and published with release; looking is lock-free.
// Who may use it: extents.cc, extent_space.cc.
#pragma once

#include "chunk/extent.h"

namespace poolalloc {

// The record of the unit that contains the address; nullptr: there is none.
Extent* extent_record(uintptr_t address);

// The extent with the lowest start from `address` on; nullptr: none. Looks at one record after the other; extents_lock
// held.
const Extent* extent_from(uintptr_t address);

// Both with extents_lock held. Makes records for [start, start+size); false: no memory.
bool extent_map_cover(uintptr_t start, size_t size);
// Sees to it that the next extent_map_cover of so many bytes, wherever they are, does not fail; false: no memory.
bool extent_map_reserve(size_t size);

}  // namespace poolalloc
