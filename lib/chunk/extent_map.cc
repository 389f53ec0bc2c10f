// From an address to the extents near it (extent_map.h).
//
// Who may use it: through extent_map.h.
#include "chunk/extent_map.h"

#include "base/bits.h"
#include "os/os.h"

namespace poolalloc {

constinit ExtentMap extent_map{};

namespace {

// Tables that are not in use yet, never touched. Synchronization: extents_lock.
template <typename Table>
struct Spares {
  char* next = nullptr;
  size_t count = 0;

  bool reserve(size_t wanted) {
    if (count >= wanted) return true;
    // What is left of the last ones is too little, and is address space only.
    void* memory = os_map(round_up(wanted * sizeof(Table), os_page_size()), os_page_size());
    if (memory == nullptr) return false;
    next = static_cast<char*>(memory);
    count = wanted;
    return true;
  }
  // A zeroed table; nullptr: no memory.
  Table* take() {
    if (!reserve(1)) return nullptr;
    Table* table = reinterpret_cast<Table*>(next);
    next += sizeof(Table);
    count--;
    return table;
  }
};
PA_NOTE constinit Spares<ExtentMapLeaf> spare_leaves;
PA_NOTE constinit Spares<ExtentMapBranch> spare_branches;

// The table that `place` names, made if there is none; nullptr: no memory.
template <typename Table>
Table* table_at(Atomic<Table*>& place, Spares<Table>& spares) {
  Table* table = place.load_relaxed();
  if (table != nullptr) return table;
  table = spares.take();
  // Release: whoever finds the table finds it zero.
  place.store_release(table);
  return table;
}

Atomic<ExtentMapBranch*>& branch_place(uintptr_t address) { return extent_map.branches[address >> kExtentBranchShift]; }
template <typename BranchType>
auto& leaf_place(BranchType& branch, uintptr_t address) {
  return branch.leaves[address % (uintptr_t{1} << kExtentBranchShift) >> kExtentLeafShift];
}

}  // namespace

ExtentUnit* extent_unit(uintptr_t address) {
  if (address >> kAddressBits != 0) return nullptr;
  // Acquire: paired with the release in table_at.
  ExtentMapBranch* branch = branch_place(address).load_acquire();
  if (branch == nullptr) return nullptr;
  ExtentMapLeaf* leaf = leaf_place(*branch, address).load_acquire();
  if (leaf == nullptr) return nullptr;
  return &leaf->units[address % (uintptr_t{1} << kExtentLeafShift) >> kExtentShift];
}

Extent* extent_from(uintptr_t address) {
  while (address >> kAddressBits == 0) {
    const ExtentMapBranch* branch = branch_place(address).load_acquire();
    const ExtentMapLeaf* leaf = branch != nullptr ? leaf_place(*branch, address).load_acquire() : nullptr;
    // What has no table is passed over as a whole.
    unsigned step = branch == nullptr ? kExtentBranchShift : leaf == nullptr ? kExtentLeafShift : kExtentShift;
    if (step == kExtentShift) {
      const ExtentUnit& unit = leaf->units[address % (uintptr_t{1} << kExtentLeafShift) >> kExtentShift];
      Extent* extent = unit.starting.load_relaxed();
      if (extent != nullptr && extent->start.load_relaxed() >= address) return extent;
    }
    address = ((address >> step) + 1) << step;
  }
  return nullptr;
}

Extent* extent_around(uintptr_t address) {
  for (uintptr_t at = address;; at = round_down(at, kExtentUnit) - 1) {
    ExtentUnit* unit = extent_unit(at);
    if (unit == nullptr) return nullptr;
    Extent* extent = unit->starting.load_relaxed();
    if (extent == nullptr || extent->start.load_relaxed() > address) continue;
    return address - extent->start.load_relaxed() < extent->size ? extent : nullptr;
  }
}

bool extent_map_cover(uintptr_t start, size_t size) {
  constexpr uintptr_t kLeafSize = uintptr_t{1} << kExtentLeafShift;
  if ((start + size - 1) >> kAddressBits != 0) return false;
  const uintptr_t first = round_down(start, kLeafSize);
  // All that are missing in one mapping.
  size_t missing = 0;
  for (uintptr_t at = first; at < start + size; at += kLeafSize) missing += extent_unit(at) == nullptr;
  if (!spare_leaves.reserve(missing)) return false;
  for (uintptr_t at = first; at < start + size; at += kLeafSize) {
    ExtentMapBranch* branch = table_at(branch_place(at), spare_branches);
    if (branch == nullptr || table_at(leaf_place(*branch, at), spare_leaves) == nullptr) return false;
  }
  return true;
}

bool extent_map_reserve(size_t size) {
  return spare_branches.reserve((size >> kExtentBranchShift) + 2) &&
         spare_leaves.reserve((size >> kExtentLeafShift) + 2);
}

void extent_map_forget_spares() { spare_leaves.count = spare_branches.count = 0; }

}  // namespace poolalloc
