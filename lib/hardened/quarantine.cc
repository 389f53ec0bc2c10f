// Blocks that are not reused yet (quarantine.h).
//
// Who may use it: through quarantine.h.
#include "hardened/quarantine.h"

#include <pthread.h>

#include "base/bits.h"
#include "base/policy.h"
#include "os/os.h"

namespace poolalloc {
namespace {

__thread Quarantine* own;
__thread bool has_ended;

constexpr size_t kSize = sizeof(Quarantine);

// Synchronization: 0: none yet, 1: being made; else the key and two.
constinit Atomic<uint64_t> key{0};

void thread_ends(void* value) {
  Quarantine* quarantine = static_cast<Quarantine*>(value);
  has_ended = true;
  own = nullptr;
  for (auto& of_class : quarantine->blocks) {
    for (void* block : of_class) {
      if (block != nullptr) quarantine_let_go(block);
    }
  }
  os_discard(quarantine, round_up(kSize, os_page_size()));
}

void remember(Quarantine* quarantine) {
  pthread_key_t made;
  if (key.cas_acquire(0, 1)) key.store_release(pthread_key_create(&made, thread_ends) == 0 ? uint64_t{made} + 2 : 0);
  // Acquire: paired with the release above.
  uint64_t known = key.load_acquire();
  // May allocate. Should it fail, what is in the quarantine when the thread ends is lost.
  if (known >= 2) pthread_setspecific(pthread_key_t(known - 2), quarantine);
}

}  // namespace

Quarantine* quarantine_own() {
  if (PA_LIKELY(own != nullptr) || has_ended) return own;
  own = static_cast<Quarantine*>(os_map(round_up(kSize, os_page_size()), os_page_size()));
  if (own == nullptr) return nullptr;
  own->random = random_next();
  remember(own);
  return own;
}

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
