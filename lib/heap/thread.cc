// Which thread has which heap: attaching at first use, letting go when the thread ends, adopting.
//
// Always holds: a Heap is never freed; it is in the list of all heaps from its creation on, and in
// the list of orphans exactly while its state is orphan and nobody is adopting it. No thread-local
// destructors: one pthread key, set when a heap is attached.
// Who may use it: heap.h declares what others may call.
#include <pthread.h>
#include <string.h>

#include "chunk/region.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/remote.h"
#include "os/os.h"
#include "pool/pool.h"

namespace poolalloc {

__thread Heap* thread_heap;
constinit Heap shared_heap{
    .active = {},
    .small_lists = kSmallLists,
    .chains = {},
    .batches = {},
    .batch_cursor = 0,
    .inherited = 0,
    .mailbox = {nullptr},
    .lock = {{0}, LockRank::heap, {0}},
    .state = {HeapState::shared},
    .next = nullptr,
    .next_orphan = nullptr,
};

namespace {

// What of heaps is common to all threads.
struct HeapRegistry {
  Lock lock;
  Atomic<Heap*> all;            // Synchronization: pushed under lock with release, read with acquire
  Heap* orphans;                // Synchronization: lock
  Pool memory;                  // where Heaps live. Synchronization: lock
  Atomic<unsigned> owned;       // Synchronization: written under lock
  Atomic<unsigned> owned_peak;  // Synchronization: written under lock
  pthread_key_t key;            // Synchronization: written once, under lock
  bool key_created;             // Synchronization: lock
};
constinit HeapRegistry registry{
    .lock = {{0}, LockRank::heaps, {0}},
    .all = {&shared_heap},
    .orphans = nullptr,
    .memory = {nullptr, size_t{64} << 10, 0, nullptr, nullptr},
    .owned = {0},
    .owned_peak = {0},
    .key = 0,
    .key_created = false,
};

void* heap_memory_acquire(size_t size) { return os_map(round_up(size, os_page_size()), os_page_size()); }
void heap_memory_release(void* buffer, size_t size) { os_unmap(buffer, round_up(size, os_page_size())); }
constexpr PoolSource kHeapMemory{heap_memory_acquire, heap_memory_release};

// ld.so may fill in, and so reset, a thread's thread-local variables after the thread has allocated for
// the first time; it gets the same heap again. Only before the library's constructor has run.
struct EarlyHeap {
  Heap* heap;
  uintptr_t thread;
  bool started;  // the constructor has run
};
constinit EarlyHeap early{nullptr, 0, false};

void orphan_push(Heap* heap) {
  LockGuard guard(registry.lock);
  heap->next_orphan = registry.orphans;
  registry.orphans = heap;
  registry.owned.store_relaxed(registry.owned.load_relaxed() - 1);
}

// Lets go of the calling thread's heap. From here on its own frees are remote ones.
void heap_detach(Heap* heap) {
  remote_flush(*heap);
  thread_heap = &heap_ended;
  {
    LockGuard guard(heap->lock);
    heap_collect(*heap);
    heap_retire_active(*heap);
    PA_CHECK(heap_is_valid(*heap));
    heap->state.store_relaxed(HeapState::orphan);
  }
  // State before the look at the mailbox, as in mailbox_push the message before the look at the
  // state: a message that came after the collection is seen by one of the two.
  fence_seq_cst();
  heap_drain_orphan(*heap);
  orphan_push(heap);
}

// The key's destructor. Destructors that run later and allocate are served by the shared heap. The
// key's value is not looked at: where a process has two libcs, the other one's threads may have stored
// it.
void thread_ends(void*) {
  if (heap_is_usable(thread_heap)) heap_detach(thread_heap);
}

// An orphan or a new heap, owned by nobody yet. registry.lock held; nullptr: no memory.
Heap* heap_take() {
  Heap* heap = registry.orphans;
  if (heap != nullptr) {
    registry.orphans = heap->next_orphan;
    return heap;
  }
  heap = static_cast<Heap*>(pool_alloc(registry.memory, sizeof(Heap), kCacheLine, kHeapMemory));
  if (heap == nullptr) return nullptr;
  // Fresh mappings are zero, which is an empty heap but for these.
  heap->small_lists = kSmallLists;
  heap->lock.rank = LockRank::heap;
  heap->next = registry.all.load_relaxed();
  // Release: the heap is complete for those who walk the list.
  registry.all.store_release(heap);
  return heap;
}

}  // namespace

Heap* heap_attach() {
  if (thread_heap == &heap_ended) return nullptr;
  if (early.heap != nullptr && early.thread == os_thread_id()) return thread_heap = early.heap;
  Heap* heap;
  bool has_key;
  {
    LockGuard guard(registry.lock);
    if (!registry.key_created) registry.key_created = pthread_key_create(&registry.key, thread_ends) == 0;
    has_key = registry.key_created;
    heap = heap_take();
    if (heap == nullptr) return nullptr;
    unsigned owned = registry.owned.load_relaxed() + 1;
    registry.owned.store_relaxed(owned);
    if (owned > registry.owned_peak.load_relaxed()) registry.owned_peak.store_relaxed(owned);
  }
  {
    // Whoever drains it as an orphan has it locked; from here on it is this thread's.
    LockGuard guard(heap->lock);
    heap->state.store_relaxed(HeapState::owned);
  }
  thread_heap = heap;
  if (!early.started && early.heap == nullptr) early = EarlyHeap{heap, os_thread_id(), false};
  // May allocate, which works from here on. Should it fail, the heap stays with the ended thread.
  if (has_key) pthread_setspecific(registry.key, heap);
  return thread_heap;
}

void heap_start() {
  if (thread_heap == nullptr && early.thread == os_thread_id()) thread_heap = early.heap;
  early = EarlyHeap{nullptr, 0, true};
}

Heap* heap_list() {
  // Acquire: paired with the release in heap_take.
  return registry.all.load_acquire();
}
unsigned heap_thread_peak() { return registry.owned_peak.load_relaxed(); }
unsigned heap_thread_count() { return registry.owned.load_relaxed(); }

// --- fork ------------------------------------------------------------------------------------------
//
// The forking thread holds every lock from prepare on, in their order, so that no other thread is
// inside a slow path and every chain is at rest. Other threads go on with their fast paths: what the
// child sees of each of their heaps is a prefix of that thread's writes, and between any two writes of
// a fast path the lists are whole, and a pool's live count at most one too high (fast.h, remote.cc). So
// in the child every other thread's heap can become an orphan, and be adopted. Meanwhile locking by the forking thread
// does nothing (lock.h): other libraries' handlers may allocate between prepare and parent or child.

namespace {

// Taken and released in a fixed order by one thread, so the order check of lock.h does not apply.
void fork_lock(Lock& lock) {
  // Held by the code that a signal handler interrupted in order to fork: it stays its.
  if (lock.holder.load_relaxed() == os_thread_id()) return;
  while (lock.word.exchange_acquire(2) != 0) os_wait(lock.word, 2);
}

void fork_unlock(Lock& lock) {
  if (lock.holder.load_relaxed() == os_thread_id()) return;
  lock.word.exchange_release(0);
  os_wake_one(lock.word);
}

template <typename Action>
void for_each_lock(Action action) {
  action(registry.lock);
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) action(heap->lock);
  action(regions_lock);
  action(purge_lock);
}

// Forks that this thread has begun inside a fork: from a signal handler or another library's handler.
constinit unsigned fork_depth = 0;

// Every heap without a thread is an orphan in the child, whatever it was on its way to be.
void orphan_all_others() {
  unsigned gone = 0;
  registry.orphans = nullptr;
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap == thread_heap || heap == &shared_heap) continue;
    gone++;
    heap_collect(*heap);
    heap_retire_active(*heap);
    heap->state.store_relaxed(HeapState::orphan);
    heap->next_orphan = registry.orphans;
    registry.orphans = heap;
  }
  // A thread that vanished inside a fast path leaves one live block too many, in its own heap or in one
  // that it had a batch for.
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) heap->inherited += gone;
  for (Heap* heap = registry.orphans; heap != nullptr; heap = heap->next_orphan) remote_flush(*heap);
  registry.owned.store_relaxed(heap_is_usable(thread_heap) ? 1 : 0);
}

// Settles the pools whose count a vanished thread brought to zero without getting to look at them.
void settle_all() {
  auto settle_chunk = [](Chunk* chunk) {
    for (BlockPool& slice : chunk->slices) {
      bool at_rest = slice.state == SliceState::partial || slice.state == SliceState::parked;
      if (at_rest && slice.parked_list.count <= 0) heap_pool_settle(*slice.owner, &slice);
    }
  };
  regions_find([&](Region& region) {
    for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
      char* chunk = chunk_address(region, c);
      if (chunk_bit_test(owned_chunks, address_of(chunk))) settle_chunk(reinterpret_cast<Chunk*>(chunk));
    }
    return false;
  });
}

void release_all_locks() {
  SignalsBlocked blocked;
  forking_thread.store_relaxed(0);
  for_each_lock(fork_unlock);
}

}  // namespace

void heap_fork_prepare() {
  if (lock_held_by_fork()) {
    fork_depth++;
    return;
  }
  // A signal handler that forks finds either no lock held by this thread or all of them.
  SignalsBlocked blocked;
  for_each_lock(fork_lock);
  forking_thread.store_relaxed(os_thread_id());
}

void heap_fork_parent() {
  if (fork_depth != 0) {
    fork_depth--;
    return;
  }
  release_all_locks();
  // Who found an orphan locked meanwhile has left it to this thread.
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap->state.load_relaxed() != HeapState::owned && heap->mailbox.load_relaxed() != nullptr)
      heap_drain_orphan(*heap);
  }
}

void heap_fork_child() {
  // Only this thread exists here.
  orphan_all_others();
  settle_all();
  accounts_rebuild(divide_up(large_mapped_bytes(), kSliceSize));
  heap_fork_parent();
}

}  // namespace poolalloc
