// Blocks of pools that were freed and are not reused yet, and those that the calling thread has been given last
// (hardened.h).
//
// Always holds: what is in a quarantine is live for its heap, and its record says `free`. A thread's own is emptied
// when it ends.
//
// Synchronization: each thread has one of its own.
//
// Who may use it: hardened.
#pragma once

#include "hardened/pool_block.h"
#include "heap/usage.h"

namespace poolalloc {

struct Quarantine {
  static constexpr unsigned kMost = 64;  // blocks of a class
  // The first half of a class's places is one that a place is drawn from; what it had goes on to the second half, whose
  // places have their turns. So nobody knows when a block comes back, and not before half of them have come after it.
  void* blocks[kClassCount][kMost];
  uint8_t turns[kClassCount];
  uint64_t random;
  PoolBlock given;      // the one that was handed out last, if it is not known to be freed; start nullptr: none
  uint64_t given_word;  // its record
  PoolBlock freed;      // the one that was freed last
};

// The calling thread's; nullptr: it has none yet, or none any more.
extern __thread Quarantine* quarantine_of_thread;
Quarantine* quarantine_make();
// The same, made if there is none; nullptr: there can be none, without a heap (a thread gets one by malloc, or after
// some frees), at the thread's end or without memory.
PA_INLINE Quarantine* quarantine_own() {
  Quarantine* own = quarantine_of_thread;
  return PA_LIKELY(own != nullptr) ? own : quarantine_make();
}

// How many blocks of a class wait, less one: the power of two that fits into a quarter of a slice, 4 at least, kMost at
// most.
struct QuarantinePlaces {
  uint8_t mask[kClassCount];
};
constexpr QuarantinePlaces quarantine_places_compute() {
  QuarantinePlaces places{};
  for (unsigned c = 0; c < kClassCount; c++) {
    size_t fit = kSliceSize / 4 / class_size_compute(c);
    size_t count = fit >= Quarantine::kMost ? Quarantine::kMost : fit >= 4 ? size_t{1} << log2_floor(fit) : 4;
    places.mask[c] = uint8_t(count - 1);
  }
  return places;
}
inline constexpr QuarantinePlaces kQuarantinePlaces = quarantine_places_compute();

// Puts a block in, and returns another one, or none, that leaves.
PA_INLINE void* quarantine_swap(Quarantine& quarantine, unsigned size_class, void* block) {
  quarantine.random = quarantine.random * 0xd1342543de82ef95 + 1;
  const unsigned half = kQuarantinePlaces.mask[size_class] / 2u;
  void** blocks = quarantine.blocks[size_class];
  void*& drawn = blocks[quarantine.random >> 40 & half];
  void*& turn = blocks[half + 1 + (quarantine.turns[size_class]++ & half)];
  void* leaves = turn;
  if (PA_UNLIKELY(leaves == nullptr)) usage_kept.add(1, class_size(size_class));
  turn = drawn;
  drawn = block;
  return leaves;
}

// What a quarantine that is emptied calls for each block.
void quarantine_let_go(void* block);

}  // namespace poolalloc
