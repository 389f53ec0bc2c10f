// The pool of equal blocks: malloc's pool. Handed out front to back like every pool, and because its
// blocks are equal-sized, a freed block can be recycled.
//
// The equations, for a pool with blocks of block_size bytes that starts at `base`:
//   block i stands at base + i * block_size, for i < capacity
//   size <= capacity                      blocks [0, size) have been handed out at least once
//   list == &parked_list, or, while state == active, the list in the owner's heap
//   list->head                            freed blocks that wait to be recycled
//   holes                                 parts of the pool whose memory was given back: the blocks that start
//                                         there are free, but on no list
//   list->count                           active, partial: live blocks (held by users or on their
//                                         way back from other threads); parked: how many more frees
//                                         wake the pool
//   live + length(list) + blocks in holes == size
//                                         (after a fork, live may be too high by one per vanished thread)
//   parked implies size == capacity       and the list was empty when it was parked, and there were no holes
//   reciprocal == ceil(2^64 / block_size); 0 in a descriptor that is not a pool's first, so that no
//       address is a block's start there, whoever looks
//   the first word of a free block, on a list or on its way to one, is a *link*: its next block, mixed with its own
//       address and a secret of the process. Nobody can make one without the secret, and none is in a block that a
//       user was given. So a block that is freed twice, a block that was written to after it was freed, and a
//       list that leads out of its pool are noticed
//   a list ends at a place in its pool's descriptor (list_end) where no link stands
//
// Synchronization: everything belongs to the owning heap; other threads read owner, back, size_class, slice_count,
// size and reciprocal of a pool in which they hold a block; the size may change meanwhile, but not below that block,
// the others do not while a block is live. With the heap's lock they may also read the count of a pool that is not
// active (heap_reap). Who may use it: chunk (which stores it as a slice's descriptor) and heap.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/constants.h"
#include "base/policy.h"
#include "base/record.h"

namespace poolalloc {

struct Heap;

// A free block.
struct Block {
  uintptr_t link;
};

// The list in force of a pool: what malloc pops and free pushes.
struct FreeList {
  Block* head;
  int64_t count;
};

// --- Links ----------------------------------------------------------------------------------------------

// Makes link_secret (base/record.h), before the first pool. Its upper bit is set, so that no pointer looks like a link.
void link_secret_make(const uint64_t random[2]);

// How far the next block, or the end, may be: all are in one chunk. What a link shows of the secret is above that.
inline constexpr uintptr_t kReach = kChunkSize;

PA_INLINE uintptr_t link_to(const Block* block, const Block* next) {
  return address_of(block) ^ address_of(next) ^ link_secret;
}
// The difference between a block's address and that of the next one, if its first word is a link; else more than
// kReach, for all that can be told without the secret.
PA_INLINE uintptr_t link_step(const Block* block) {
  return __atomic_load_n(&block->link, __ATOMIC_RELAXED) ^ link_secret;
}
PA_INLINE Block* block_after(const Block* block, uintptr_t step) { return pointer_to<Block>(address_of(block) ^ step); }
// Whether the block may be free: nothing but a link, or what a program has copied from one, looks so.
PA_INLINE bool block_is_linked(const Block* block) { return link_step(block) < kReach; }

// Where lists end is no multiple of a block's alignment.
inline bool is_list_end(const Block* block) { return address_of(block) % kBlockAlignment != 0 || block == nullptr; }
// The end of a list that belongs to no pool.
struct alignas(kBlockAlignment) NoBlock {
  uintptr_t unused;
  Block end;
};
extern constinit NoBlock no_block;
inline bool list_is_empty(const FreeList& list) { return is_list_end(__atomic_load_n(&list.head, __ATOMIC_RELAXED)); }

// Changes the number of live blocks. Others may read it meanwhile.
PA_INLINE void list_count_add(FreeList& list, int64_t change) {
#if defined(__SANITIZE_THREAD__)
  __atomic_store_n(&list.count, __atomic_load_n(&list.count, __ATOMIC_RELAXED) + change, __ATOMIC_RELAXED);
#else
  list.count += change;
#endif
}

// Takes the first block off a list; nullptr if there is none, or if the list is broken: its first block has no link
// that leads to one less than `reach` away or to the end. The end has no link either, so it needs no test of its own.
// Counts before it looks at the list: so a forked child may find one live block too many, never one too few; and
// whoever has taken the list away, and made sure that this thread has seen that, finds by the count whether it got here
// before (heap/evict.h).
PA_INLINE Block* list_pop(FreeList& list, uintptr_t reach) {
  list_count_add(list, 1);
  compiler_barrier();
  Block* block = __atomic_load_n(&list.head, __ATOMIC_RELAXED);
  chaos_middle();
  __asm__("" : "+r"(block));
  uintptr_t step = link_step(block);
  if (PA_UNLIKELY(step >= reach)) {
    uintptr_t far = step;
    // Where it leads to is computed here and below: once for both takes a register more.
    __asm__("" : "+r"(far));
    if (far >= kReach || !is_list_end(block_after(block, far))) {
      list_count_add(list, -1);
      return nullptr;
    }
  }
  Block* next = block_after(block, step);
  chaos_middle();
  // The next call reads the block that is now first.
  __builtin_prefetch(next);
  // Release: whoever sees the head sees the count.
  __atomic_store_n(&list.head, next, __ATOMIC_RELEASE);
  compiler_barrier();  // a forked child finds no block on a list without its link
  block->link = 0;
  return block;
}

// Puts a block on a list. The count is the caller's next step: it may find that the pool is empty.
PA_INLINE void list_push(FreeList& list, Block* block) {
#if defined(__SANITIZE_THREAD__)
  Block* next = __atomic_load_n(&list.head, __ATOMIC_RELAXED);
#else
  Block* next = list.head;
#endif
  uintptr_t link = link_secret ^ address_of(block);
  __asm__("" : "+r"(link));
  block->link = link ^ address_of(next);
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
  uint16_t capacity;    // blocks that there is room for
  uint16_t size;        // blocks that have been handed out at least once
  uint8_t size_class;
  SliceState state;
  uint8_t slice_count;  // slices of the pool
  uint8_t back;         // slices to the first one: 0 but in interior slices
};

static_assert(sizeof(BlockPool) == kCacheLine, "a descriptor is one cache line");
static_assert(kSliceSize / kBlockAlignment <= UINT16_MAX, "block indexes fit");

// Where the pool's lists end: at its field `list`, a pointer.
inline Block* list_end(const BlockPool& pool) { return pointer_to<Block>(address_of(&pool.list)); }
static_assert(offsetof(BlockPool, list) % kBlockAlignment != 0);

constexpr uint64_t reciprocal_of(uint64_t divisor) { return UINT64_MAX / divisor + 1; }

// offset / divisor, by the divisor's reciprocal: a whole part, and the rest scaled to 2^64. Exact for offsets and
// divisors below 2^32: the offset is a multiple if the fraction is less than the reciprocal.
struct Quotient {
  uint64_t whole;
  uint64_t fraction;
};
PA_INLINE constexpr Quotient quotient_of(uint64_t offset, uint64_t reciprocal) {
#if defined(__x86_64__)
  // Compilers copy the offset once more.
  if (!__builtin_is_constant_evaluated()) {
    Quotient result{0, offset};
    __asm__("mulq %2" : "+a"(result.fraction), "=d"(result.whole) : "r"(reciprocal) : "cc");
    return result;
  }
#endif
  __extension__ using Product = unsigned __int128;
  Product product = Product{reciprocal} * offset;
  return {uint64_t(product >> 64), uint64_t(product)};
}

// Whether a block that has been handed out starts `offset` bytes behind the pool's start. Precondition: the offset is
// within the pool's slices. Any thread.
PA_INLINE bool block_pool_has(const BlockPool& pool, size_t offset) {
  Quotient index = quotient_of(offset, pool.reciprocal);
  if (PA_UNLIKELY(index.fraction >= pool.reciprocal)) return false;
#if defined(__SANITIZE_THREAD__)
  return uint16_t(index.whole) < __atomic_load_n(&pool.size, __ATOMIC_RELAXED);
#else
  return PA_LIKELY(uint16_t(index.whole) < pool.size);
#endif
}

// The same of any address, where the pool's first slice is at `base`.
inline bool block_pool_has_at(const BlockPool& pool, const void* base, const void* p) {
  const size_t offset = address_of(p) - address_of(base);
  return offset < pool.slice_count * kSliceSize && block_pool_has(pool, offset);
}

// Others may read it meanwhile.
inline void block_pool_set_size(BlockPool& pool, size_t size) {
  __atomic_store_n(&pool.size, uint16_t(size), __ATOMIC_RELAXED);
}

// Makes an empty pool of the first `span` bytes of its slices. Its state is `partial`.
inline void block_pool_init(BlockPool& pool, Heap* owner, unsigned size_class, size_t block_size, size_t span) {
  pool.owner = owner;
  pool.list = &pool.parked_list;
  pool.parked_list = FreeList{list_end(pool), 0};
  pool.next = pool.prev = nullptr;
  pool.reciprocal = reciprocal_of(block_size);
  pool.capacity = uint16_t(span / block_size);
  block_pool_set_size(pool, 0);
  pool.size_class = uint8_t(size_class);
  pool.state = SliceState::partial;
  pool.slice_count = uint8_t(divide_up(span, kSliceSize));
}

// Calls visit(block) for each block from `head` on, a list of the pool's or a part of one. False: it is broken, it
// leads to what is no block of the pool, or goes on for ever.
template <typename Visit>
inline bool list_each(const BlockPool& pool, const void* base, Block* head, Visit visit) {
  unsigned most = pool.size;
  for (Block* next; head != list_end(pool); head = next) {
    if (!block_pool_has_at(pool, base, head) || most-- == 0) return false;
    next = block_after(head, link_step(head));
    visit(head);
  }
  return true;
}

// Links so many blocks from `first` on as the hardened library does: eight after eight, and each eight in the same
// order, which is drawn for the pool. Neighbours are often used together, and a processor fetches ahead what it has
// seen to be regular. Returns the first one; the last one leads to `end`.
inline constexpr unsigned kShuffled = 8;
inline Block* blocks_link_shuffled(Block* first, size_t count, size_t block_size, Block* end) {
  uint8_t order[kShuffled];
  uint64_t random = random_mix(round_down(address_of(first), kSliceSize) ^ link_secret);
  for (unsigned i = 0; i < kShuffled; i++, random /= i) {
    const unsigned at = unsigned(random % (i + 1));
    order[i] = order[at];
    order[at] = uint8_t(i);
  }
  Block* head = end;
  for (size_t from = round_up(count, size_t{kShuffled}); from > 0;) {
    from -= kShuffled;
    for (unsigned i : order) {
      if (from + i >= count) continue;
      Block* block = byte_offset<Block>(first, (from + i) * block_size);
      block->link = link_to(block, head);
      record_word(block, block_size).store_relaxed(record_free(block));
      head = block;
    }
  }
  return head;
}

// Bump: puts the next blocks, up to `bytes` but at least one, on the empty list, in address order.
// Precondition: size < capacity.
inline void block_pool_bump(BlockPool& pool, void* base, size_t block_size, size_t bytes) {
  PA_ASSERT(pool.size < pool.capacity && list_is_empty(*pool.list));
  size_t count = bytes > block_size ? bytes / block_size : 1;
  if constexpr (kHardened) {
    // As much as stays at hand until it is handed out; a few at the least, so that nobody knows which one is next.
    const size_t page = 4096 / block_size, few = kShuffled / 2;
    count = page > few ? page : few;
  }
  if (count > size_t(pool.capacity - pool.size)) count = size_t(pool.capacity - pool.size);
  Block* first = byte_offset<Block>(base, pool.size * block_size);
  if constexpr (kHardened) {
    pool.list->head = blocks_link_shuffled(first, count, block_size, list_end(pool));
    return block_pool_set_size(pool, pool.size + count);
  }
  Block* last = byte_offset<Block>(first, (count - 1) * block_size);
  for (Block* each = first; each != last;) {
    Block* next = byte_offset<Block>(each, block_size);
    each->link = link_to(each, next);
    each = next;
  }
  last->link = link_to(last, list_end(pool));
  pool.list->head = first;
  block_pool_set_size(pool, pool.size + count);
}

// --- Holes --------------------------------------------------------------------------------------------

// Of one slice: bit i set  =>  the blocks that start in the i-th sixteenth of it are in a hole, at least one.
using HoleSet = uint16_t;
inline constexpr size_t kHoleGrain = kSliceSize / 16;

inline HoleSet hole_bit(size_t offset) { return HoleSet(1u << (offset % kSliceSize / kHoleGrain)); }

// The free blocks of a pool, on its list or in its holes.
class FreeBlocks {
 public:
  FreeBlocks(const BlockPool& pool, const void* base, size_t block_size, const HoleSet* holes);
  bool has(unsigned index) const { return (words_[index / 64] >> (index % 64) & 1) != 0; }
  // Whether the list is not broken, and no block on it twice, or in a hole as well.
  bool are_sound() const { return are_sound_; }

 private:
  void add(size_t index) {
    are_sound_ &= !has(unsigned(index));
    words_[index / 64] |= uint64_t{1} << (index % 64);
  }
  bool are_sound_ = true;
  uint64_t words_[kSliceSize / kBlockAlignment / 64 + 1] = {};
};

// How many blocks are in holes.
unsigned block_pool_hidden(const BlockPool& pool, size_t block_size, const HoleSet* holes);

// Makes a hole of each run of pages that has no live block in it, and puts the list into address order. Free blocks
// behind the last live one are as if they had never been handed out. Calls purge(from, end), offsets from `base`,
// for memory that is not needed; `page` is the size of its unit. `span` is as in block_pool_init, `holes` are the sets
// of its slices. False: the list is broken, and nothing was done.
template <typename Purge>
inline bool block_pool_shed(BlockPool& pool, void* base, size_t block_size, size_t span, size_t page, HoleSet* holes,
                            Purge purge) {
  const FreeBlocks free(pool, base, block_size, holes);
  if (!free.are_sound()) return false;
  unsigned size = pool.size;
  while (size > 0 && free.has(size - 1)) size--;
  block_pool_set_size(pool, size);
  for (size_t i = 0; i < pool.slice_count; i++) holes[i] = 0;
  // From the last block to the first, so that the list is in address order.
  Block* head = list_end(pool);
  for (unsigned behind = size; behind > 0; behind--) {
    if (!free.has(behind - 1)) continue;
    unsigned i = behind;
    while (i > 0 && free.has(i - 1)) i--;
    size_t from = round_up(i * block_size, page);
    size_t until = round_down(behind * block_size, page);
    for (; behind > i; behind--) {
      size_t offset = (behind - 1) * block_size;
      if (offset >= from && offset < until) {
        holes[offset / kSliceSize] |= hole_bit(offset);
      } else {
        Block* block = byte_offset<Block>(base, offset);
        block->link = link_to(block, head);
        // It may have been in a hole.
        if constexpr (kHardened) record_word(block, block_size).store_relaxed(record_free(block));
        head = block;
      }
    }
    // The record of the last block that stays on the list stays with it.
    if constexpr (kHardened) from = round_up(divide_up(from, block_size) * block_size, page);
    if (from < until) purge(from, until);
    if (behind == 0) break;
  }
  pool.list->head = head;
  purge(round_up(size * block_size, page), round_down(span, page));
  return true;
}

// Puts the blocks of one hole, up to kHoleGrain of memory, on the empty list, in address order; false: none.
bool block_pool_fill(BlockPool& pool, void* base, size_t block_size, HoleSet* holes);

// --- Counting -------------------------------------------------------------------------------------------

// How many frees wake a parked pool of `block_count` blocks: waking for each would activate it
// again and again for one block. What is not handed out again is not looked at, so the hardened library waits less.
inline int64_t block_pool_wake_count(unsigned block_count) {
  if (block_count >= 16) return block_count / 8;
  return block_count >= 8 && !kHardened ? 2 : 1;
}

// Live blocks of a pool of `block_count` blocks in this state, from its list's count.
inline int64_t block_pool_live(SliceState state, unsigned block_count, int64_t count) {
  return state == SliceState::parked ? int64_t(block_count) - (block_pool_wake_count(block_count) - count) : count;
}
inline int64_t block_pool_live(const BlockPool& pool) {
  return block_pool_live(pool.state, pool.capacity, pool.list->count);
}

// Gives up a broken list: what was on it counts as live for ever. `hidden`: blocks in holes. The owner, or for a heap
// without one.
void block_pool_give_up(BlockPool& pool, unsigned hidden);

// The equations above, in their order. `excess` is how many live blocks too many may be counted.
bool block_pool_is_valid(const BlockPool& pool, const void* base, size_t block_size, const HoleSet* holes,
                         unsigned excess);

}  // namespace poolalloc
