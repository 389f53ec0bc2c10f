// The door by which every malloc of a thread can be counted, and one in so many be served otherwise: by the guard
// (guard.h).
//
// malloc's fast path does not know of it. Where sampling is on, a heap's small_lists lead to *metered* lists instead of
// those in force: each has a few blocks of the class's active pool, no more than may be handed out before the next
// sample. So the slow path comes by at the right moment. Frees do not notice either: a block goes to its pool's list.
//
// The equations, for each metered list:
//   its blocks are of one pool of one slice, which is the heap's, and count as live there
//
//   each block's link leads to the next one; that of the last is a *stop*: a link to nowhere, at which list_pop gives
//   up. So the list keeps its pool alive as long as it has a block, and only the slow path takes the last one
//
//   a list without a block is at no_block.end
//
//   its count means nothing
//
// and of all of them:
//   each malloc is sampled with the same probability, whatever its class and whatever came before: `until` is drawn
//   anew, from the geometric distribution, whenever it has been spent. Blocks that go back unused take their part of it
//   along, which changes nothing for those that come
//
// Synchronization: as the heap's lists: the owner, or who holds the lock of a heap without a thread. A forked child
// finds whole lists, because each is made before it is put in its place; blocks on the way there are lost to it.
//
// Who may use it: heap and api.
#pragma once

#include "heap/size_class.h"

namespace poolalloc {

struct Heap;

inline constexpr unsigned kMeteredClasses = size_class_compute(kSmallMax) + 1;

struct Meter {
  FreeList lists[kMeteredClasses];
  uint64_t until;    // mallocs before the one to be sampled, those apart that lists serve
  uint64_t random;   // the generator's state
  uint32_t due;      // bit c: the malloc behind the last block of list c is sampled
  bool is_on;        // the heap's small_lists lead here
  bool is_sampling;  // a sample is being taken; what allocates meanwhile is not sampled
};
static_assert(kMeteredClasses <= 32, "one bit for each class");

// One malloc in about so many is sampled; 0: none. Synchronization: written once, by sample_start.
extern constinit Atomic<uint64_t> sample_interval;
inline bool sample_is_on() { return sample_interval.load_relaxed() != 0; }

// Switches sampling on, for the calling thread's heap at once, for others when they come by.
void sample_start(uint64_t interval);
// Mallocs that have been sampled so far.
uint64_t sample_count();

// heap_malloc_slow where sampling is on. The heap's owner.
void* sample_malloc(Heap& heap, unsigned size_class, size_t size);

// Gives what is on metered lists back to the pools; the next malloc of a class is as likely to be sampled as any.
// heap.lock held.
void meter_return(Heap& heap);
// Sees to it that every malloc takes the slow path, which then serves it without the heap; and ends that. The owner.
void meter_divert(Heap& heap);
void meter_undivert(Heap& heap);
// In the child of a fork: its thread draws other numbers than the parent's.
void meter_reseed(Heap& heap);

// The equations above, in their order.
bool meter_is_valid(const Heap& heap);

}  // namespace poolalloc
