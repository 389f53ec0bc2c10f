// Blocks of no bytes (no_bytes.h).
//
// Who may use it: through no_bytes.h.
#include "hardened/no_bytes.h"

#include "os/os.h"

namespace poolalloc {
namespace {

constexpr size_t kCells = size_t{1} << 18;  // of one area
constexpr size_t kAreaSize = kCells * kBlockAlignment;
constexpr unsigned kAreasMost = 1024;

struct Area {
  char* start;
  Atomic<uint8_t> cells[kCells];  // 0: free, else the maker and one
};
// Synchronization: published with release, never taken away.
constinit Atomic<Area*> areas[kAreasMost]{};
// Where the search goes on. Synchronization: a hint.
constinit Atomic<uint64_t> cursor{0};
// The area that had room last. Synchronization: a hint.
constinit Atomic<unsigned> roomy{0};

size_t area_record_size() { return round_up(sizeof(Area), os_page_size()); }

Area* area_make() {
  Area* area = static_cast<Area*>(os_map(area_record_size(), os_page_size()));
  if (area == nullptr) return nullptr;
  char* start = static_cast<char*>(os_map(kAreaSize, os_page_size()));
  if (start == nullptr) return os_discard(area, area_record_size()), nullptr;
  os_protect(start, kAreaSize, false);
  area->start = start;
  return area;
}

// The area with this number, made if there is none; nullptr: no memory.
Area* area_at(unsigned index) {
  // Acquire: paired with the release below.
  Area* area = areas[index].load_acquire();
  if (area != nullptr) return area;
  area = area_make();
  Area* none = nullptr;
  // Who comes second leaves his area unused.
  while (area != nullptr && none == nullptr) {
    if (areas[index].cas_weak_acq_rel(none, area)) return area;
  }
  return none;
}

Atomic<uint8_t>* cell_of(const void* p) {
  for (Atomic<Area*>& each : areas) {
    Area* area = each.load_acquire();
    if (area == nullptr) return nullptr;
    size_t offset = address_of(p) - address_of(area->start);
    if (offset < kAreaSize) return &area->cells[offset / kBlockAlignment];
  }
  return nullptr;
}

}  // namespace

void* no_bytes_alloc(Maker maker) {
  constexpr int kTries = 64;
  const unsigned first = roomy.load_relaxed();
  for (unsigned a = 0; a < kAreasMost; a++) {
    const unsigned index = (first + a) % kAreasMost;
    Area* area = area_at(index);
    if (area == nullptr) return nullptr;
    for (int i = 0; i < kTries; i++) {
      size_t cell = cursor.add_relaxed(1 + random_below(4)) % kCells;
      if (area->cells[cell].load_relaxed() != 0 || !area->cells[cell].cas_acquire(0, uint8_t(unsigned(maker) + 1)))
        continue;
      if (a != 0) roomy.store_relaxed(index);
      return area->start + cell * kBlockAlignment;
    }
  }
  return nullptr;
}

NoBytes no_bytes_find(const void* p) {
  const Atomic<uint8_t>* cell = cell_of(p);
  if (cell == nullptr) return {false, false, Maker::malloc};
  unsigned value = cell->load_relaxed();
  bool is_live = value != 0 && address_of(p) % kBlockAlignment == 0;
  return {true, is_live, Maker(value != 0 ? value - 1 : 0)};
}

bool no_bytes_free(const void* p) {
  Atomic<uint8_t>& cell = *cell_of(p);
  uint8_t before = cell.load_relaxed();
  return before != 0 && cell.cas_acquire(before, 0);
}

}  // namespace poolalloc
