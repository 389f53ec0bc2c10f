// Blocks that are not reused yet (quarantine.h).
//
// Who may use it: through quarantine.h.
#include "hardened/quarantine.h"

#include "base/bits.h"
#include "base/policy.h"
#include "heap/heap.h"
#include "os/os.h"

namespace poolalloc {
namespace {

__thread Quarantine* own;
__thread bool has_ended;

size_t mapped_size() { return round_up(sizeof(Quarantine), os_page_size()); }

void thread_ends() {
  Quarantine* quarantine = own;
  has_ended = true;
  own = nullptr;
  if (quarantine == nullptr) return;
  for (auto& of_class : quarantine->blocks) {
    for (void* block : of_class) {
      if (block != nullptr) quarantine_let_go(block);
    }
  }
  os_discard(quarantine, mapped_size());
}

// A thread that only frees gets a heap, whose end is its quarantine's.
PA_COLD Quarantine* make() {
  heap_before_detach.store_release(thread_ends);
  if (!heap_is_usable(thread_heap) && heap_attach() == nullptr) return nullptr;
  // To attach a heap may allocate.
  if (own != nullptr) return own;
  Quarantine* made = static_cast<Quarantine*>(os_map(mapped_size(), os_page_size()));
  if (made == nullptr) return nullptr;
  made->random = random_next();
  return own = made;
}

}  // namespace

Quarantine* quarantine_own() { return PA_LIKELY(own != nullptr) || has_ended ? own : make(); }

namespace {

// How many blocks of a class wait: a power of two, as many as fit into a quarter of a slice, but a few.
struct Places {
  uint8_t mask[kClassCount];
};
constexpr Places places_compute() {
  Places places{};
  for (unsigned c = 0; c < kClassCount; c++) {
    size_t fit = kSliceSize / 4 / class_size_compute(c);
    size_t count = fit >= Quarantine::kMost ? Quarantine::kMost : fit >= 4 ? size_t{1} << log2_floor(fit) : 4;
    places.mask[c] = uint8_t(count - 1);
  }
  return places;
}
constexpr Places kPlaces = places_compute();

}  // namespace

void* quarantine_swap(Quarantine& quarantine, unsigned size_class, void* block) {
  quarantine.random = quarantine.random * 0xd1342543de82ef95 + 1;
  void*& place = quarantine.blocks[size_class][quarantine.random >> 40 & kPlaces.mask[size_class]];
  void* leaves = place;
  place = block;
  return leaves;
}

}  // namespace poolalloc
