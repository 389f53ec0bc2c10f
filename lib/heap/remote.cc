// Remote frees (remote.h).
//
// Always holds: a batch is taken out of the table before it is sent, so that a fork between the two
// loses blocks in the child at worst, and never sends them twice.
// Who may use it: through remote.h.
#include "heap/remote.h"

#include "chunk/purge.h"
#include "chunk/region.h"
#include "heap/evict.h"
#include "heap/find.h"
#include "heap/misuse.h"
#include "heap/program_heap.h"

namespace poolalloc {
namespace {

// A thread without a heap sends its first frees singly: one that only cleans up needs no heap at all.
constexpr uint8_t kFreesWithoutHeap = 4;
__thread uint8_t frees_without_heap;

RemoteMessage& as_message(Block* block) { return *reinterpret_cast<RemoteMessage*>(block); }
const RemoteMessage& as_message(const Block* block) { return *reinterpret_cast<const RemoteMessage*>(block); }

// The parts of a message, by its block.
Block* message_head(const Block* last) { return block_after(last, link_step(last)); }
Block* message_below(const Block* last) {
  return pointer_to<Block>((as_message(last).below_and_count ^ link_secret) >> 16);
}
unsigned message_count(const Block* last) { return (as_message(last).below_and_count ^ link_secret) & 0xffff; }

// Makes a batch a message, with others below it.
void message_make(Block* head, Block* last, unsigned count, const Block* below) {
  as_message(last) = {link_to(last, head), (uint64_t(address_of(below)) << 16 | count) ^ link_secret};
}
void message_set_below(Block* last, const Block* below) {
  message_make(message_head(last), last, message_count(last), below);
}

// Makes a message a free block like others, before `next`.
void message_end(Block* last, Block* next) {
  // Free blocks are zero there, but for their links.
  if constexpr (kHardened) as_message(last).below_and_count = 0;
  last->link = link_to(last, next);
}

// Whether what is in a heap's mailbox may be a message: free blocks may have been written to. heap.lock held.
bool message_is_sound(const Heap& heap, const Block* last) {
  const BlockPool* pool = pool_find(last);
  return pool != nullptr && pool->owner == &heap && block_is_linked(last) && pool_has(*pool, message_head(last)) &&
         message_count(last) - 1 < pool->size;
}

// Calls visit(message) for each message from `message` on, which may take it away. heap.lock held. Where one is broken,
// it and what is below are lost.
template <typename Visit>
void messages_each(const Heap& heap, Block* message, Visit visit) {
  for (Block* below; message != nullptr; message = below) {
    if (PA_UNLIKELY(!message_is_sound(heap, message))) return links_give_up(message);
    below = message_below(message);
    visit(message);
  }
}

// Messages from `newest` down to `oldest`.
void mailbox_put(Heap& owner, Block* newest, Block* oldest) {
  Block* below = owner.mailbox.load_relaxed();
  do {
    message_set_below(oldest, below);
    // Release: publishes the batches and all that was done with their blocks to the collector.
  } while (!owner.mailbox.cas_weak_release(below, newest));
}

// The same for messages that are new; how many there are now.
uint32_t mailbox_add(Heap& owner, Block* newest, Block* oldest, uint32_t count) {
  mailbox_put(owner, newest, oldest);
  return owner.mail_count.add_relaxed(count) + count;  // at once, while the line is here
}

void mailbox_push(Heap& owner, Block* newest, Block* oldest, uint32_t count) {
  uint32_t mail_count = mailbox_add(owner, newest, oldest, count);
  // Paired with the fences in heap_drain_orphan and where a heap becomes an orphan: either this
  // thread sees that nobody will collect, or the last collector sees the message.
  fence_seq_cst();
  if (PA_UNLIKELY(mailbox_is_due(owner, mail_count))) mailbox_look(owner);
}

// How many blocks a batch collects. Fewer and longer messages cost less; but what is under way for long is cold when it
// comes back.
unsigned batch_limit(const BlockPool& pool) {
  constexpr size_t kBytes = 16 << 10;
  const size_t count = kBytes / class_size(pool.size_class);
  return count > 1 ? unsigned(count) : 1;
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

Heap& outbox_owner(const RemoteOutbox& outbox) { return *pool_of(outbox.newest)->owner; }

bool outbox_has_room(const RemoteOutbox& outbox, const BlockPool& pool) {
  constexpr uint32_t kMessages = 64, kSize = 16 << 10;
  if (outbox.newest == nullptr) return true;
  return outbox.count < kMessages && outbox.size < kSize && &outbox_owner(outbox) == pool.owner;
}

// Takes a batch out of the table and puts it into the outbox, which is empty or goes to the same heap.
void outbox_add(Heap& heap, RemoteBatch& batch) {
  RemoteOutbox& outbox = heap.outbox;
  if (outbox.newest == nullptr) outbox = RemoteOutbox{nullptr, batch.last, 0, 0, 0};
  outbox.count++;
  outbox.size += batch_count(batch) * uint32_t(class_size(batch.pool->size_class));
  batch.pool = nullptr;
  compiler_barrier();
  message_make(batch.head, batch.last, batch_count(batch), outbox.newest);
  compiler_barrier();  // a fork between the lines finds whole messages
  outbox.newest = batch.last;
  heap.batch_count--;
}

// What is in the outbox is out of it, before it is sent.
RemoteOutbox outbox_take(RemoteOutbox& outbox) {
  const RemoteOutbox taken = outbox;
  outbox.newest = nullptr;
  compiler_barrier();
  return taken;
}

void outbox_send(RemoteOutbox& outbox) {
  Heap& owner = outbox_owner(outbox);
  const RemoteOutbox sent = outbox_take(outbox);
  mailbox_push(owner, sent.newest, sent.oldest, sent.count);
}

// For a batch that has to make room: it waits for others that go to the same heap.
void batch_put_out(Heap& heap, RemoteBatch& batch) {
  if (!outbox_has_room(heap.outbox, *batch.pool)) outbox_send(heap.outbox);
  outbox_add(heap, batch);
}

void batch_send(Heap& heap, RemoteBatch& batch) {
  batch_put_out(heap, batch);
  outbox_send(heap.outbox);
}

// Takes every batch out, all that go to one heap together, and calls send(owner, outbox) for each heap.
template <typename Send>
void batches_take_out(Heap& heap, Send send) {
  auto take_for = [&](Heap* owner, unsigned from) {
    for (unsigned i = from; i < kBatchCount; i++) {
      if (RemoteBatch& batch = heap.batches[i]; batch.pool != nullptr && batch.pool->owner == owner)
        outbox_add(heap, batch);
    }
    send(*owner, outbox_take(heap.outbox));
  };
  if (heap.outbox.newest != nullptr) take_for(&outbox_owner(heap.outbox), 0);
  for (unsigned i = 0; i < kBatchCount && heap.batch_count != 0; i++) {
    if (heap.batches[i].pool != nullptr) take_for(heap.batches[i].pool->owner, i);
  }
}

// Sends a batch, and the outbox, if it has not grown since it was last looked at. The owner is at its batches.
void batch_age(Heap& heap) {
  RemoteBatch& batch = heap.batches[heap.batch_cursor++ % kBatchCount];
  if (heap.batch_cursor % kBatchCount == 0 && heap.outbox.newest != nullptr) {
    if (heap.outbox.count == heap.outbox.seen) outbox_send(heap.outbox);
    heap.outbox.seen = heap.outbox.count;
  }
  if (batch.pool == nullptr) return;
  if (batch.room == batch.seen) return batch_send(heap, batch);
  batch.seen = batch.room;
}

// The place for a pool's batch.
PA_INLINE RemoteBatch& batch_for(Heap& heap, const BlockPool* pool) {
  constexpr unsigned kShift = log2_floor(sizeof(RemoteBatch));
  static_assert(sizeof(RemoteBatch) == 1 << kShift);
  return *byte_offset<RemoteBatch>(heap.batches, pool_hash<kShift>(pool) & ((kBatchCount - 1) << kShift));
}

// Puts a freed block into a batch of its pool, which has room.
PA_INLINE void batch_push(RemoteBatch& batch, Block* block) {
  chaos_middle();
  block->link = link_to(block, batch.head);
  compiler_barrier();  // a fork between the lines finds a whole list
  batch.head = block;
  batch.room--;
}

// Puts a freed block into the batch for its pool. The owner is at its batches.
void batch_add(Heap& heap, RemoteBatch& batch, BlockPool* pool, Block* block) {
  if (batch.pool == pool) {
    batch_push(batch, block);
  } else {
    if (batch.pool != nullptr) batch_put_out(heap, batch);
    block->link = link_to(block, list_end(*pool));
    batch.head = batch.last = block;
    batch.limit = uint16_t(batch_limit(*pool));
    batch.room = uint16_t(batch.limit - 1);
    batch.seen = batch.limit;
    heap.batch_count++;
    compiler_barrier();
    batch.pool = pool;
    batch_age(heap);
  }
  if (batch.room == 0 && batch.pool != nullptr) batch_send(heap, batch);
}

// Splices a message's batch into its pool.
void message_splice(Heap& heap, Block* last) {
  Block* head = message_head(last);
  BlockPool* pool = pool_of(last);
  FreeList& list = *pool->list;
  const int64_t count = message_count(last);
  message_end(last, list.head);
  list.head = head;
  list.count -= count;
  if (list.count <= 0) heap_pool_settle(heap, pool);
}

}  // namespace

void mailbox_look(Heap& owner) {
  owner.gate->state.load_relaxed() != HeapState::owned ? heap_drain_orphan(owner) : heap_reap(owner);
  misuse_report();
  purge_excess(kWidePoolSize);
}

unsigned remote_take(Heap& heap, Heap** owners) {
  unsigned count = 0;
  if (heap.batch_count != 0) chaos_note(ChaosEvent::batch_taken);
  batches_take_out(heap, [&](Heap& owner, const RemoteOutbox& sent) {
    mailbox_add(owner, sent.newest, sent.oldest, sent.count);
    owners[count++] = &owner;
  });
  return count;
}

void remote_free(Block* block, BlockPool* pool) {
  Heap* heap = thread_heap;
  if (PA_UNLIKELY(!heap_is_usable(heap))) {
    if (program_of(pool) != nullptr) return program_free(pool, block);
    bool one_of_few = heap == nullptr && frees_without_heap < kFreesWithoutHeap;
    frees_without_heap += one_of_few;
    heap = one_of_few ? nullptr : heap_attach();
    if (heap == nullptr || heap == pool->owner) {
      message_make(block, block, 1, nullptr);
      return mailbox_push(*pool->owner, block, block, 1);
    }
  }
  {
    BatchesHeld held(*heap);
    RemoteBatch& batch = batch_for(*heap, pool);
    // There is no batch for a program heap's pool.
    if (PA_LIKELY(batch.pool == pool || program_of(pool) == nullptr)) return batch_add(*heap, batch, pool, block);
  }
  program_free(pool, block);
}

// A batch that has become full, at which the owner is.
static PA_NOINLINE void batch_end(RemoteBatch& batch, Heap& heap) {
  batch_send(heap, batch);
  batches_leave(heap);
}

PA_NOINLINE void heap_free_elsewhere(void* p, Caller caller, BlockPool* pool, Heap* own) {
  Block* block = static_cast<Block*>(p);
  // A slice that is not the first of a pool has no blocks for these tests.
  bool is_block = own != nullptr && block_pool_has(*pool, address_of(p) % kSliceSize) && !block_is_linked(block);
  if (PA_UNLIKELY(!is_block)) return heap_free_slow(p, caller);
  if (PA_UNLIKELY(!batches_enter(*own))) return remote_free(block, pool);
  RemoteBatch& batch = batch_for(*own, pool);
  // heap_ended has no batches, and a program heap's pools have none.
  if (PA_UNLIKELY(batch.pool != pool)) {
    batches_leave(*own);
    return remote_free(block, pool);
  }
  batch_push(batch, block);
  if (PA_UNLIKELY(batch.room == 0)) return batch_end(batch, *own);
  batches_leave(*own);
}

void remote_flush(Heap& heap) {
  BatchesHeld held(heap);
  batches_take_out(
      heap, [](Heap& owner, const RemoteOutbox& sent) { mailbox_push(owner, sent.newest, sent.oldest, sent.count); });
}

void remote_age(Heap& heap, unsigned count) {
  BatchesHeld held(heap);
  if (heap.batch_count == 0 && heap.outbox.newest == nullptr) return;
  for (; count > 0; count--) batch_age(heap);
}

void heap_collect(Heap& heap) {
  if (PA_LIKELY(heap.mailbox.load_relaxed() == nullptr)) return;
  // Acquire: the senders' last use of the blocks, and their links, happened before.
  Block* message = heap.mailbox.exchange_acquire(nullptr);
  heap.mail_count.store_relaxed(0);
  heap.mail_patience.store_relaxed(kMailPatience);
  messages_each(heap, message, [&](Block* each) { message_splice(heap, each); });
}

namespace {

// The messages for one pool, made one.
struct Mail {
  BlockPool* pool;  // nullptr: unused
  Block* head;
  Block* last;
  unsigned count;
};
constexpr unsigned kMailTable = 32;  // on a stack that may be small
constexpr int kReapPasses = 8;       // over what is left; the owner may be waiting for its lock

void mail_add(Mail& mail, BlockPool* pool, Block* last) {
  Block* head = message_head(last);
  if (mail.pool == nullptr) mail = Mail{pool, list_end(*pool), last, 0};
  mail.count += message_count(last);
  message_end(last, mail.head);
  mail.head = head;
}

// What became of messages that were looked at.
struct Reaped {
  uint32_t kept;      // put back
  uint32_t released;  // pools
};

// Handles as many pools as the table can tell apart; returns the messages for others.
Block* reap_some(Heap& heap, Block* message, Reaped& reaped) {
  Mail table[kMailTable] = {};
  Block* others = nullptr;
  messages_each(heap, message, [&](Block* each) {
    BlockPool* pool = pool_of(each);
    Mail& mail = table[pool_hash<0>(pool) % kMailTable];
    if (mail.pool == nullptr || mail.pool == pool) {
      mail_add(mail, pool, each);
    } else {
      message_set_below(each, others);
      others = each;
    }
  });
  for (const Mail& mail : table) {
    if (mail.pool == nullptr) continue;
    // The count of live blocks may be out of date, but never too low, and what is in the mail is live. So if
    // they are equal, the owner has no block of the pool in its hands, and is done with the last it had: that
    // one's count-down did not reach zero, or there would be no answer.
    if (heap_pool_live(*mail.pool) == int64_t(mail.count)) {
      chaos_note(ChaosEvent::pool_vacated);
      heap_pool_vacate(heap, mail.pool);
      reaped.released++;
    } else {
      message_make(mail.head, mail.last, mail.count, nullptr);
      mailbox_put(heap, mail.last, mail.last);
      reaped.kept++;
      chaos_note(ChaosEvent::mail_put_back);
    }
  }
  return others;
}

}  // namespace

void heap_reap(Heap& heap) {
  SignalsBlocked blocked;
  if (!lock_try_acquire(heap.gate->lock)) return;  // by the owner, or by one who is at it
  // Acquire: as in heap_collect.
  Block* message = heap.mailbox.exchange_acquire(nullptr);
  heap.mail_count.store_relaxed(0);
  Reaped reaped{0, 0};
  uint32_t released_before;
  // Where a pass releases nothing, the next ones are not likely to.
  int passes = 0;
  do {
    released_before = reaped.released;
    message = reap_some(heap, message, reaped);
  } while (message != nullptr && ++passes < kReapPasses && reaped.released != released_before);
  for (Block* below; message != nullptr; message = below, reaped.kept++) {
    below = message_below(message);
    mailbox_put(heap, message, message);
  }
  // Twice as many again before the next look, so that looks cost less than sending does; more after one in vain: the
  // sweeps look, too.
  heap.mail_patience.store_relaxed(kMailPatience + (reaped.released != 0 ? 2 : 8) * reaped.kept);
  lock_release(heap.gate->lock);
  // As in heap_drain_orphan: its thread may have ended meanwhile, and who found the lock taken has left its
  // message to this thread.
  fence_seq_cst();
  if (PA_UNLIKELY(heap.gate->state.load_relaxed() != HeapState::owned)) heap_drain_orphan(heap);
}

void heap_drain_orphan(Heap& heap) {
  // A handler that forks, or allocates, does not find the heap half changed.
  SignalsBlocked blocked;
  do {
    if (!lock_try_acquire(heap.gate->lock)) return;  // whoever holds it looks again below
    HeapState state = heap.gate->state.load_relaxed();
    bool without_thread = state != HeapState::owned;
    if (state == HeapState::vanished) {
      heap_inherit(heap);
    } else if (without_thread && heap.mailbox.load_relaxed() != nullptr) {
      heap_collect(heap);
      if (heap.is_trimmed) heap_changed(heap);  // else it is to be trimmed anyway
      chaos_note(ChaosEvent::orphan_drained);
    }
    lock_release(heap.gate->lock);
    if (!without_thread) return;
    // The lock's release before the look at the mailbox: a sender that found the lock taken has
    // pushed before, so one of the two sees the other.
    fence_seq_cst();
  } while (heap.mailbox.load_relaxed() != nullptr);
}

bool remote_has(const BlockPool& pool, const Block* block) {
  bool found = false;
  auto look = [&](Block* head) {
    list_each(pool, slice_address(&pool), head, [&](const Block* each) { found |= each == block; });
  };
  for (HeapGate* gate = heap_list(); gate != nullptr && !found; gate = gate->next) {
    for (const RemoteBatch& batch : gate->heap->batches) {
      if (batch.pool == &pool) look(batch.head);
    }
    for (const Block* message = gate->heap->outbox.newest; message != nullptr; message = message_below(message)) {
      if (!message_is_sound(*pool.owner, message)) break;
      if (pool_of(message) == &pool) look(message_head(message));
    }
  }
  if (found) return true;
  // With the lock, so that nobody collects meanwhile.
  SignalsBlocked blocked;
  bool is_mine = lock_is_mine(pool.owner->gate->lock);
  if (!is_mine && !lock_try_acquire(pool.owner->gate->lock)) return false;
  // Acquire: as in heap_collect.
  const Block* message = pool.owner->mailbox.load_acquire();
  for (; message != nullptr && message_is_sound(*pool.owner, message); message = message_below(message)) {
    if (pool_of(message) == &pool) look(message_head(message));
  }
  if (!is_mine) lock_release(pool.owner->gate->lock);
  return found;
}

}  // namespace poolalloc
