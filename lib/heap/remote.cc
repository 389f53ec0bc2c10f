// Remote frees (remote.h).
//
// Always holds: a batch is taken out of the table before it is sent, so that a fork between the two
// loses blocks in the child at worst, and never sends them twice.
// Who may use it: through remote.h.
#include "heap/remote.h"

#include "base/probe.h"
#include "chunk/purge.h"
#include "chunk/region.h"
#include "heap/evict.h"
#include "heap/mail.h"
#include "heap/program_heap.h"

namespace poolalloc {

constinit Atomic<uint32_t> remote_sent_without_heap[kClassCount]{};

namespace {

// A thread without a heap sends its first frees singly: one that only cleans up needs no heap at all.
constexpr uint8_t kFreesWithoutHeap = 4;
__thread uint8_t frees_without_heap;

// Puts messages that are new into a mailbox, from `newest` down to `oldest`; how many there are now.
uint32_t mailbox_add(Heap& owner, Block* newest, Block* oldest, uint32_t count) {
  mailbox_put(owner, newest, oldest);
  return owner.mail_count.add_relaxed(count) + count;  // at once, while the line is here
}

void mailbox_push(Heap& owner, Block* newest, Block* oldest, uint32_t count) {
  PA_PROBE2(messages_send, &owner, count);
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
  const unsigned c = batch.pool->size_class;
  outbox.size += batch_count(batch) * uint32_t(class_size(c));
  heap.sent[c] += batch_count(batch);
  heap.sent_messages++;
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
  heap.taken[pool->size_class] += unsigned(count);
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
      remote_sent_without_heap[pool->size_class].add_relaxed(1);
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
