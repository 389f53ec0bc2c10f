// Remote frees: how blocks get back to the heap they came from.
//
// A thread links the blocks it frees for another heap into batches, one batch per pool, in a small
// table. A batch that is full, or makes room for another pool's, or has not grown for a while, is
// sent: the batch's last block becomes the message
//
//   word 0   a link, as a free block has it (block_pool.h), to the batch's first block; from there links lead to the
//            last one
//   word 1   mixed with the secret of links:
//            bits 63..16  the message below it in the mailbox (a Block*, nullptr at the bottom)
//            bits 15..0   number of blocks in the batch
//
// and is pushed on the owner's mailbox by one compare-and-swap, however long the batch is. Short ones, of a thread
// that frees here and there, first wait for each other in an outbox, and go together. The owner
// takes the whole mailbox by one exchange and splices each batch into its pool without walking it.
//
// An owner that sleeps does not collect. So that what others freed of its blocks does not wait for it, a
// sender that finds many messages in a mailbox releases the pools whose live blocks are all in there,
// and leaves the rest (heap_reap).
//
// Always holds: a block is in at most one batch, outbox or mailbox, and counts as live in its pool until the
// owner has collected it, so its pool cannot be released before.
// Synchronization: sending is release: it publishes the freeing thread's last use of the blocks, and
// the links between them, to the collector, whose exchange is acquire.
// tests/models/mail.cc is a model of who collects when a thread ends, tests/models/lists.cc has the reaping.
// Who may use it: heap.
#pragma once

#include "heap/heap.h"

namespace poolalloc {

struct RemoteMessage {
  uintptr_t link;
  uint64_t below_and_count;
};
static_assert(sizeof(RemoteMessage) <= kBlockAlignment, "fits into the smallest block");
static_assert(kAddressBits <= 48, "an address and a count share a word");

// Blocks sent home by threads without a heap, by size class; may wrap around. With Heap::sent and Heap::taken, and what
// is in batches, this says how many are under way.
extern constinit Atomic<uint32_t> remote_sent_without_heap[kClassCount];

// Frees a block of another heap's pool. Never fails; may attach a heap to the calling thread.
void remote_free(Block* block, BlockPool* pool);

// Puts every batch of a heap into its owner's mailbox, for one who has seized them (evict.h). Fills `owners`, of
// which there are kOwnersMost at the most, and returns how many; those that are due must be looked at, without a lock.
inline constexpr unsigned kOwnersMost = kBatchCount + 1;
unsigned remote_take(Heap& heap, Heap** owners);
// Whether a mailbox with so many messages must be looked at by who has sent the last of them, after a fence.
inline bool mailbox_is_due(const Heap& owner, uint32_t mail_count) {
  return owner.gate->state.load_relaxed() != HeapState::owned || mail_count >= owner.mail_patience.load_relaxed();
}
// Does what can be done with a mailbox without its owner.
void mailbox_look(Heap& owner);
// Sends every batch of the calling thread's heap (its owner, or its inheritor after a fork).
void remote_flush(Heap& heap);
// Sends those of some batches, which take turns, that have not grown since they were last looked at: called now and
// then, it leaves none behind for ever.
void remote_age(Heap& heap, unsigned count);

// Messages in a mailbox, at the least, that make a sender look at them.
inline constexpr uint32_t kMailPatience = short_if_chaos(16, 2);
// Releases the pools of a heap all of whose live blocks are in its mailbox, unless the heap's lock is taken.
// Any thread.
void heap_reap(Heap& heap);

// Takes in the mailbox. heap.lock held, by the owner unless the heap is an orphan or shared.
void heap_collect(Heap& heap);
// Collects for a heap that has no thread to do it.
void heap_drain_orphan(Heap& heap);

// Whether a block of the pool is on its way to its heap: in a batch, an outbox or the mailbox. Any thread, no lock
// held; a block that moves from one to the other meanwhile may be missed.
bool remote_has(const BlockPool& pool, const Block* block);

}  // namespace poolalloc
