// Spares: slices that a heap keeps for its next pools.
//
// Where pools have few blocks they come and go all the time. To claim slices and to give them back writes words that
// all threads share; so a heap keeps runs of slices that were its pools', of each length as many as it lately gave back
// and then needed again, but no more than a sixteenth of what its pools have, a MiB, and what may be kept at all
// (retention.h). When two windows of time have passed without a pool that came or went, all go back, at the next look
// of whoever comes by; when memory has run out, those of every heap.
//
// Always holds: a spare run is claimed, so it counts as in use; its descriptors are those of free slices; only a heap
// that a thread uses, or one that a fork has left without its thread, has any; spares_fit once a pool is gone.
// Synchronization: the heap's lock.
// Who may use it: heap.
#pragma once

#include "chunk/chunk.h"

namespace poolalloc {

struct Heap;

struct Spares {
  static constexpr unsigned kLengths = kWidePoolSlices;
  BlockPool* first[kLengths];  // runs of one slice, two, ...; linked by their descriptors
  uint8_t count[kLengths];     // how many there are
  uint8_t wanted[kLengths];    // how many are worth keeping
  uint8_t missing[kLengths];   // how many were given back in the current window, and have not been needed again
  uint16_t slices;             // of all of them
  uint64_t window;             // when the current window began
};

// Whether there are no more than the heap's share.
inline constexpr unsigned kSparesShare = 16;
inline bool spares_fit(const Spares& spares, size_t slices_of_pools) {
  return spares.slices * kSparesShare <= slices_of_pools;
}

// A spare run of so many slices, or nullptr. Notes that the heap needs one.
BlockPool* spares_take(Heap& heap, unsigned count);
// Whether the run, which was a pool's, is kept.
bool spares_keep(Heap& heap, BlockPool* run, unsigned count);
// Gives back what is more than the heap's share.
void spares_shrink(Heap& heap);
// Whether a whole window of time has passed without a pool that came or went.
bool spares_are_idle(const Heap& heap);
// Gives all back, and forgets what is worth keeping; whether there were any.
bool spares_release(Heap& heap);

}  // namespace poolalloc
