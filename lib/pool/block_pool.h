// The pool of equal blocks: malloc's pool. Handed out front to back like every pool, and because its
// blocks are equal-sized, a freed block can be recycled.
//
// The equations, for a pool with blocks of block_size bytes that starts at `base`:
//   block i stands at base + i * block_size, for first <= i < capacity
//       (first > 0 only where a chunk header takes the front of the buffer)
//   first <= size <= capacity             blocks [first, size) have been handed out at least once
//   list == &parked_list, or, while state == active, the list in the owner's heap
//   list->head                            freed blocks that wait to be recycled
//   holes                                 parts of the pool whose memory was given back: the blocks that start
//                                         there are free, but on no list
//   list->count                           active, partial: live blocks (held by users or on their
//                                         way back from other threads); parked: how many more frees
//                                         wake the pool
//   live + length(list) + blocks in holes == size - first
//                                         (after a fork, live may be too high by one per vanished thread)
//   parked implies size == capacity       and the list was empty when it was parked, and there were no holes
//   reciprocal == ceil(2^64 / block_size); 0 in a descriptor that is not a pool's first, so that no
//       address is a block's start there, whoever looks
//
// Synchronization: everything belongs to the owning heap; other threads read owner, back, size_class,
// capacity and reciprocal of a pool in which they hold a block, which do not change while a block is
// live. With the heap's lock they may also read the count of a pool that is not active (heap_reap).
// Who may use it: chunk (which stores it as a slice's descriptor) and heap.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/constants.h"

namespace poolalloc {

struct Heap;

// A freed block: its first word links it to the next.
struct Block {
  Block* next;
};

// The list in force of a pool: what malloc pops and free pushes.
struct FreeList {
  Block* head;
  int64_t count;
};

// Changes the number of live blocks. Others may read it meanwhile.
PA_INLINE void list_count_add(FreeList& list, int64_t change) {
#if defined(__SANITIZE_THREAD__)
  __atomic_store_n(&list.count, __atomic_load_n(&list.count, __ATOMIC_RELAXED) + change, __ATOMIC_RELAXED);
#else
  list.count += change;
#endif
}

// Takes the first block off a list; nullptr if there is none. Counts before it looks at the list: so a forked
// child may find one live block too many, never one too few; and whoever has taken the list away, and made
// sure that this thread has seen that, finds by the count whether it got here before (heap/evict.h).
PA_INLINE Block* list_pop(FreeList& list) {
  list_count_add(list, 1);
  compiler_barrier();
  Block* block = __atomic_load_n(&list.head, __ATOMIC_RELAXED);
  if (PA_UNLIKELY(block == nullptr)) {
    list_count_add(list, -1);
    return nullptr;
  }
  chaos_middle();
  Block* next = block->next;
  chaos_middle();
  // The next call reads the block that is now first.
  __builtin_prefetch(next);
  // Release: whoever sees the head sees the count.
  __atomic_store_n(&list.head, next, __ATOMIC_RELEASE);
  return block;
}

// Puts a block on a list. The count is the caller's next step: it may find that the pool is empty.
PA_INLINE void list_push(FreeList& list, Block* block) {
  block->next = __atomic_load_n(&list.head, __ATOMIC_RELAXED);
  compiler_barrier();  // a forked child may stop between any two of these; the list is always whole
  __atomic_store_n(&list.head, block, __ATOMIC_RELAXED);
  compiler_barrier();
}

// Counts a freed block down; whether the pool must be looked at. Whoever reads the count with acquire sees
// the block on the list: a processor that keeps its stores in order needs nothing for that.
PA_INLINE bool list_count_down(FreeList& list) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  bool is_zero = --list.count == 0;
  chaos_middle();
  return is_zero;
#else
  int64_t count = list.count - 1;
  __atomic_store_n(&list.count, count, __ATOMIC_RELEASE);
  return count == 0;
#endif
}

// What a slice is used for, in its descriptor.
enum class SliceState : uint8_t {
  free,      // nobody's
  active,    // first slice of the pool its heap allocates this size class from
  partial,   // first slice of a pool on its heap's chain: has blocks to give
  parked,    // first slice of a pool off the chain: every block was live when it was parked
  interior,  // another slice of a pool: the first one is `back` slices before
};

// One slice's descriptor, one cache line.
struct alignas(kCacheLine) BlockPool {
  Heap* owner;           // nullptr unless this is the first slice of a pool
  FreeList* list;        // the list in force
  FreeList parked_list;  // the list while the pool is not active
  BlockPool* next;       // neighbours on the heap's chain
  BlockPool* prev;
  uint64_t reciprocal;  // of the block size, to test whether an offset is a block's start
  uint16_t capacity;    // index one past the last block
  uint16_t size;        // index of the first block never handed out
  uint8_t size_class;
  SliceState state;
  uint8_t slice_count;  // slices of the pool
  uint8_t back;         // slices to the first one: 0 but in interior slices
};

static_assert(sizeof(BlockPool) == kCacheLine, "a descriptor is one cache line");
static_assert(kSliceSize / kBlockAlignment <= UINT16_MAX, "block indexes fit");

constexpr uint64_t reciprocal_of(uint64_t divisor) { return UINT64_MAX / divisor + 1; }

// Whether `offset` is a multiple of the divisor with this reciprocal: the fraction offset/divisor,
// scaled to 2^64, has no part below one. Exact for offsets and divisors below 2^32.
PA_INLINE constexpr bool is_multiple(uint64_t offset, uint64_t reciprocal) { return offset * reciprocal < reciprocal; }

// Makes an empty pool of the bytes [base + first_offset, base + span). Its state is `partial`.
inline void block_pool_init(BlockPool& pool, Heap* owner, unsigned size_class, size_t block_size, size_t first_offset,
                            size_t span) {
  pool.owner = owner;
  pool.list = &pool.parked_list;
  pool.parked_list = FreeList{nullptr, 0};
  pool.next = pool.prev = nullptr;
  pool.reciprocal = reciprocal_of(block_size);
  pool.capacity = uint16_t(span / block_size);
  pool.size = uint16_t(divide_up(first_offset, block_size));
  pool.size_class = uint8_t(size_class);
  pool.state = SliceState::partial;
}

// Bump: puts the next blocks, up to `bytes` but at least one, on the empty list, in address order.
// Precondition: size < capacity.
inline void block_pool_bump(BlockPool& pool, void* base, size_t block_size, size_t bytes) {
  PA_ASSERT(pool.size < pool.capacity && pool.list->head == nullptr);
  size_t count = bytes > block_size ? bytes / block_size : 1;
  if (count > size_t(pool.capacity - pool.size)) count = size_t(pool.capacity - pool.size);
  char* first = byte_offset(base, pool.size * block_size);
  char* last = first + (count - 1) * block_size;
  for (char* each = first; each != last; each += block_size) {
    reinterpret_cast<Block*>(each)->next = reinterpret_cast<Block*>(each + block_size);
  }
  reinterpret_cast<Block*>(last)->next = nullptr;
  pool.list->head = reinterpret_cast<Block*>(first);
  pool.size = uint16_t(pool.size + count);
}

// --- Holes --------------------------------------------------------------------------------------------

// Of one slice: bit i set  =>  the blocks that start in the i-th sixteenth of it are in a hole, at least one.
using HoleSet = uint16_t;
inline constexpr size_t kHoleGrain = kSliceSize / 16;

inline size_t pool_slices(const BlockPool& pool, size_t block_size) {
  return divide_up(pool.capacity * block_size, kSliceSize);
}
inline HoleSet hole_bit(size_t offset) { return HoleSet(1u << (offset % kSliceSize / kHoleGrain)); }

// The free blocks of a pool, on its list or in its holes.
class FreeBlocks {
 public:
  FreeBlocks(const BlockPool& pool, const void* base, size_t block_size, unsigned first, const HoleSet* holes);
  bool has(unsigned index) const { return (words_[index / 64] >> (index % 64) & 1) != 0; }

 private:
  void add(size_t index) { words_[index / 64] |= uint64_t{1} << (index % 64); }
  uint64_t words_[kSliceSize / kBlockAlignment / 64 + 1] = {};
};

// How many blocks are in holes.
unsigned block_pool_hidden(const BlockPool& pool, size_t block_size, const HoleSet* holes);

// Makes a hole of each run of pages that has no live block in it, and puts the list into address order. Free blocks
// behind the last live one are as if they had never been handed out. Calls purge(from, end), offsets from `base`,
// for memory that is not needed; `page` is the size of its unit. `first` is the index of the pool's first block,
// `holes` the sets of its slices.
template <typename Purge>
inline void block_pool_shed(BlockPool& pool, void* base, size_t block_size, unsigned first, size_t page, HoleSet* holes,
                            Purge purge) {
  const FreeBlocks free(pool, base, block_size, first, holes);
  while (pool.size > first && free.has(pool.size - 1u)) pool.size--;
  for (size_t i = 0; i < pool_slices(pool, block_size); i++) holes[i] = 0;
  Block** end = &pool.list->head;
  for (unsigned i = first; i < pool.size; i++) {
    if (!free.has(i)) continue;
    unsigned behind = i;
    while (free.has(behind)) behind++;
    size_t from = round_up(i * block_size, page);
    size_t until = round_down(behind * block_size, page);
    for (; i < behind; i++) {
      size_t offset = i * block_size;
      if (offset >= from && offset < until) {
        holes[offset / kSliceSize] |= hole_bit(offset);
      } else {
        *end = byte_offset<Block>(base, offset);
        end = &(*end)->next;
      }
    }
    if (from < until) purge(from, until);
  }
  *end = nullptr;
  purge(round_up(pool.size * block_size, page), pool_slices(pool, block_size) * kSliceSize);
}

// Puts the blocks of one hole, up to kHoleGrain of memory, on the empty list, in address order; false: none.
bool block_pool_fill(BlockPool& pool, void* base, size_t block_size, HoleSet* holes);

// --- Counting -------------------------------------------------------------------------------------------

// How many frees wake a parked pool of `block_count` blocks: waking for each would activate it
// again and again for one block.
inline int64_t block_pool_wake_count(unsigned block_count) { return block_count >= 16 ? block_count / 8 : 1; }

// Live blocks of a pool of `block_count` blocks in this state, from its list's count.
inline int64_t block_pool_live(SliceState state, unsigned block_count, int64_t count) {
  return state == SliceState::parked ? int64_t(block_count) - (block_pool_wake_count(block_count) - count) : count;
}
// The same of a pool whose first block has index `first`.
inline int64_t block_pool_live(const BlockPool& pool, unsigned first) {
  return block_pool_live(pool.state, pool.capacity - first, pool.list->count);
}

// The equations above, in their order. `excess` is how many live blocks too many may be counted.
bool block_pool_is_valid(const BlockPool& pool, const void* base, size_t block_size, unsigned first,
                         const HoleSet* holes, unsigned excess);

}  // namespace poolalloc
