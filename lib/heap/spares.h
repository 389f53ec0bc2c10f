// Spares: slices that a heap keeps for its next pools.
//
// Where pools have few blocks they come and go all the time. To claim slices and to give them back writes words that
// all threads share; so a heap keeps runs of slices that were its pools', of each length as many as it lately gave back
// and then needed again, but never more than a sixteenth of what its pools have, and a MiB. When a window of time
// (retention.h) has passed without a pool that came or went, all go back, at the next look of whoever comes by.
//
// Always holds: a spare run is claimed, so it counts as in use; its descriptors are those of free slices; only a heap
// that a thread uses has any.
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

// A spare run of so many slices, or nullptr. Notes that the heap needs one.
BlockPool* spares_take(Heap& heap, unsigned count);
// Whether the run, which was a pool's, is kept.
bool spares_keep(Heap& heap, BlockPool* run, unsigned count);
// Whether a whole window of time has passed without a pool that came or went.
bool spares_are_idle(const Heap& heap);
// Gives all back, and forgets what is worth keeping; whether there were any.
bool spares_release(Heap& heap);

}  // namespace poolalloc
