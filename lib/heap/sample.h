// The door by which every malloc of a thread can be counted, and one in so many be served otherwise: by the guard
// (guard.h), which counts mallocs, or for the profile (profiled.h), which counts bytes.
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
//   each malloc is sampled with the same probability, or each byte is, whatever came before: what is left to go is
//   drawn anew, from the geometric distribution, whenever it has been spent. What will be spent by the malloc behind a
//   list's last block is that malloc's, and drawn anew at once: it is *due*. Blocks that go back unused take their part
//   along, which changes nothing for those that come
//
// Synchronization: as the heap's lists: the owner, or who holds the lock of a heap without a thread. Where another
// thread switches sampling on, it leads small_lists to the lists, which are empty then, with the heap's lock; the owner
// goes on from there with the lock. A forked child finds whole lists, because each is made before it is put in its
// place; blocks on the way there are lost to it.
//
// Who may use it: heap and api.
#pragma once

#include "heap/size_class.h"

namespace poolalloc {

struct Heap;

inline constexpr unsigned kMeteredClasses = size_class_compute(kSmallMax) + 1;
// Blocks on a metered list, at the most: what a slow path costs is shared by so many.
inline constexpr unsigned kMeteredMost = 32;

// What is left to go before a sample, of mallocs or bytes; what lists serve is spent already.
struct Countdown {
  uint64_t left;
  uint64_t interval;  // that it was drawn for
  uint32_t due;       // bit c: the malloc behind the last block of list c is sampled
};

struct Meter {
  FreeList lists[kMeteredClasses];
  Countdown mallocs, bytes;
  uint64_t random;   // the generator's state
  bool is_on;        // the heap's small_lists lead here
  bool is_busy;      // its owner is at it; false in the child of a fork
  bool is_sampling;  // a sample is being taken; what allocates meanwhile is not sampled
};
static_assert(kMeteredClasses <= 32, "one bit for each class");

// One in about so many is sampled; 0: none.
struct SampleInterval {
  Atomic<uint64_t> interval;
  Atomic<double> scale;  // for drawing numbers. Synchronization: written before the interval
};
// Of mallocs for the guard, of bytes for the profile.
extern constinit SampleInterval sample_mallocs, sample_bytes;
// Whether heaps may have metered lists: sampling is on, or was. Synchronization: set before the first heap has.
extern constinit Atomic<bool> sample_is_used;

// Switches sampling for the guard on.
void sample_start(uint64_t interval);
// The same for the profile, or with another interval, or off (0).
void sample_start_bytes(uint64_t interval);
// The chance of a block of so many bytes to be one for the profile.
double sample_chance(size_t bytes);
// Mallocs that the guard has been asked for so far.
uint64_t sample_count();

// heap_malloc_slow where sampling is on, or was. The heap's owner.
void* sample_malloc(Heap& heap, unsigned size_class, size_t size);
// Whether a block that no list serves, for the calling thread, is one for the profile.
bool sample_counts(size_t bytes);

// While one lives, nothing that this thread allocates is a sample.
class SamplePause {
 public:
  SamplePause();
  ~SamplePause();
  SamplePause(const SamplePause&) = delete;
  SamplePause& operator=(const SamplePause&) = delete;

 private:
  Meter* const meter_;
  bool before_;
};

// Gives what is on metered lists back to the pools; the next malloc of a class is as likely to be sampled as any.
// heap.lock held.
void meter_return(Heap& heap);
// Sees to it that every malloc takes the slow path, which then serves it without the heap. The owner.
void meter_divert(Heap& heap);
// Ends that. heap.lock held.
void meter_undivert(Heap& heap);
// In the child of a fork: its thread draws other numbers than the parent's.
void meter_reseed(Heap& heap);

// The equations above, in their order.
bool meter_is_valid(const Heap& heap);

}  // namespace poolalloc
