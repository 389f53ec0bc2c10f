// Remote frees (remote.h).
//
// Always holds: a batch is taken out of the table before it is sent, so that a fork between the two
// loses blocks in the child at worst, and never sends them twice.
// Who may use it: through remote.h.
#include "heap/remote.h"

namespace poolalloc {
namespace {

// A thread without a heap sends its first frees singly: one that only cleans up needs no heap at all.
constexpr uint8_t kFreesWithoutHeap = 16;
__thread uint8_t frees_without_heap;

RemoteMessage& as_message(Block* block) { return *reinterpret_cast<RemoteMessage*>(block); }

// The first slice's descriptor of the pool that a block of ours belongs to.
BlockPool* pool_of(const Block* block) {
  BlockPool* pool = descriptor_of(block);
  return pool - pool->back;
}

void mailbox_push(Heap& owner, Block* head, Block* last, unsigned count) {
  RemoteMessage& message = as_message(last);
  Block* below = owner.mailbox.load_relaxed();
  do {
    message.below_and_count = uint64_t(address_of(below)) << 16 | count;
    message.head = head;
    // Release: publishes the batch and all that was done with its blocks to the collector.
  } while (!owner.mailbox.cas_weak_release(below, last));
  // Paired with the fences in heap_drain_orphan and where a heap becomes an orphan: either this
  // thread sees that nobody will collect, or the last collector sees the message.
  fence_seq_cst();
  if (PA_UNLIKELY(owner.state.load_relaxed() != HeapState::owned)) heap_drain_orphan(owner);
}

void batch_send(RemoteBatch& batch) {
  BlockPool* pool = batch.pool;
  batch.pool = nullptr;
  compiler_barrier();
  mailbox_push(*pool->owner, batch.head, batch.last, batch.count);
}

// How many blocks a batch collects. Fewer and longer messages cost less, so all that a small pool has;
// of larger blocks a few are enough, and more would keep much memory from their owner.
unsigned batch_limit(const BlockPool& pool) {
  constexpr size_t kShortBlock = 256;
  size_t size = class_size(pool.size_class);
  size_t bytes = size <= kShortBlock ? kSliceSize - slice_header_size(&pool) : kSliceSize / 4;
  return bytes > size ? unsigned(bytes / size) : 1;
}

RemoteBatch& batch_for(Heap& heap, const BlockPool* pool) {
  uintptr_t address = address_of(pool);
  return heap.batches[((address >> kDescriptorShift) ^ (address >> kChunkShift)) % kBatchCount];
}

// Splices a message's batch into its pool.
void message_splice(Heap& heap, Block* last) {
  RemoteMessage message = as_message(last);
  BlockPool* pool = pool_of(last);
  PA_ASSERT(pool->owner == &heap);
  FreeList& list = *pool->list;
  last->next = list.head;
  list.head = message.head;
  list.count -= int64_t(message.below_and_count & 0xffff);
  if (list.count <= 0) heap_pool_settle(heap, pool);
}

}  // namespace

void remote_free(BlockPool* pool, Block* block) {
  Heap* heap = thread_heap;
  if (PA_UNLIKELY(!heap_is_usable(heap))) {
    bool one_of_few = heap == nullptr && frees_without_heap < kFreesWithoutHeap;
    frees_without_heap += one_of_few;
    heap = one_of_few ? nullptr : heap_attach();
    if (heap == nullptr || heap == pool->owner) return mailbox_push(*pool->owner, block, block, 1);
  }
  RemoteBatch& batch = batch_for(*heap, pool);
  if (PA_LIKELY(batch.pool == pool)) {
    block->next = batch.head;
    compiler_barrier();  // a fork between the lines finds a whole list
    batch.head = block;
    batch.count++;
  } else {
    if (batch.pool != nullptr) batch_send(batch);
    batch.head = batch.last = block;
    batch.count = 1;
    batch.seen = 0;
    batch.limit = uint16_t(batch_limit(*pool));
    compiler_barrier();
    batch.pool = pool;
    remote_age(*heap);
  }
  if (batch.count >= batch.limit && batch.pool != nullptr) batch_send(batch);
}

void remote_flush(Heap& heap) {
  for (RemoteBatch& batch : heap.batches) {
    if (batch.pool != nullptr) batch_send(batch);
  }
}

void remote_age(Heap& heap) {
  RemoteBatch& batch = heap.batches[heap.batch_cursor++ % kBatchCount];
  if (batch.pool == nullptr) return;
  if (batch.count == batch.seen) return batch_send(batch);
  batch.seen = batch.count;
}

void heap_collect(Heap& heap) {
  if (PA_LIKELY(heap.mailbox.load_relaxed() == nullptr)) return;
  // Acquire: the senders' last use of the blocks, and their links, happened before.
  Block* message = heap.mailbox.exchange_acquire(nullptr);
  while (message != nullptr) {
    Block* below = pointer_to<Block>(as_message(message).below_and_count >> 16);
    message_splice(heap, message);
    message = below;
  }
}

void heap_drain_orphan(Heap& heap) {
  do {
    if (!lock_try_acquire(heap.lock)) return;  // whoever holds it looks again below
    bool without_thread = heap.state.load_relaxed() != HeapState::owned;
    if (without_thread) heap_collect(heap);
    lock_release(heap.lock);
    if (!without_thread) return;
    // The lock's release before the look at the mailbox: a sender that found the lock taken has
    // pushed before, so one of the two sees the other.
    fence_seq_cst();
  } while (heap.mailbox.load_relaxed() != nullptr);
}

}  // namespace poolalloc
