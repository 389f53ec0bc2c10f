// The parts of messages, and mailboxes (remote.h).
//
// Who may use it: remote.cc and reap.cc.
#pragma once

#include "heap/find.h"
#include "heap/misuse.h"
#include "heap/remote.h"

namespace poolalloc {

inline RemoteMessage& as_message(Block* block) { return *reinterpret_cast<RemoteMessage*>(block); }
inline const RemoteMessage& as_message(const Block* block) { return *reinterpret_cast<const RemoteMessage*>(block); }

// The parts of a message, by its block.
inline Block* message_head(const Block* last) { return block_after(last, link_step(last)); }
inline Block* message_below(const Block* last) {
  return pointer_to<Block>((as_message(last).below_and_count ^ link_secret) >> 16);
}
inline unsigned message_count(const Block* last) { return (as_message(last).below_and_count ^ link_secret) & 0xffff; }

// Makes a batch a message, with others below it.
inline void message_make(Block* head, Block* last, unsigned count, const Block* below) {
  as_message(last) = {link_to(last, head), (uint64_t(address_of(below)) << 16 | count) ^ link_secret};
}
inline void message_set_below(Block* last, const Block* below) {
  message_make(message_head(last), last, message_count(last), below);
}

// Makes a message a free block like others, before `next`.
inline void message_end(Block* last, Block* next) {
  // Free blocks are zero there, but for their links.
  if constexpr (kHardened) as_message(last).below_and_count = 0;
  last->link = link_to(last, next);
}

// Whether what is in a heap's mailbox may be a message: free blocks may have been written to. heap.lock held.
inline bool message_is_sound(const Heap& heap, const Block* last) {
  const BlockPool* pool = pool_find(last);
  return pool != nullptr && pool->owner == &heap && block_is_linked(last) && pool_has(*pool, message_head(last)) &&
         message_count(last) - 1 < pool->size;
}

// Calls visit(message) for each message from `message` on, which may take it away. heap.lock held. Where one is broken,
// it and what is below are lost.
template <typename Visit>
inline void messages_each(const Heap& heap, Block* message, Visit visit) {
  for (Block* below; message != nullptr; message = below) {
    if (PA_UNLIKELY(!message_is_sound(heap, message))) return links_give_up(message);
    below = message_below(message);
    visit(message);
  }
}

// Messages from `newest` down to `oldest`.
inline void mailbox_put(Heap& owner, Block* newest, Block* oldest) {
  Block* below = owner.mailbox.load_relaxed();
  do {
    message_set_below(oldest, below);
    // Release: publishes the batches and all that was done with their blocks to the collector.
  } while (!owner.mailbox.cas_weak_release(below, newest));
}

// A pool's place in a table, times 2 to the power of kShift, below which there are other bits. Neighbouring pools
// differ, and so do those in the same places of some neighbouring chunks: from one to the next it is 72 places.
template <unsigned kShift>
PA_INLINE uintptr_t pool_hash(const BlockPool* pool) {
  // Descriptors are in the first slice: below the number of the chunk all have the same bits, down to their own number.
  constexpr unsigned kChunk = kChunkShift - 3;
  static_assert(kShift <= kDescriptorShift && kChunk >= kSliceShift);
  return (address_of(pool) >> (kDescriptorShift - kShift)) + 9 * (address_of(pool) >> (kChunk - kShift));
}

}  // namespace poolalloc
