// Which thread has which heap: attaching at first use, letting go when the thread ends, adopting.
//
// Always holds: a Heap is never freed; it is in the list of all heaps from its creation on, and in
// the list of orphans exactly while its state is orphan and nobody is adopting it. No thread-local
// destructors: one pthread key, set when a heap is attached.
// Who may use it: heap.h declares what others may call.
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "chunk/region.h"
#include "heap/heap.h"
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
    .exit_round = 0,
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

// Before the library's constructor has run there is one thread. ld.so may fill in, and so reset, its
// thread-local variables after it has allocated for the first time; it gets the same heap again.
constinit bool started = false;
constinit Heap* early_heap = nullptr;

// glibc and musl run destructors of non-null keys in rounds, at most this many. A heap is let go in
// the last one, so that other destructors, which may allocate, find it as it was.
constexpr unsigned kLastRound = PTHREAD_DESTRUCTOR_ITERATIONS;

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

// The key's value is not looked at: where a process has two libcs, the other one's threads may have
// stored it.
void thread_ends(void*) {
  Heap* heap = thread_heap;
  if (!heap_is_usable(heap)) return;
  if (++heap->exit_round < kLastRound) {
    pthread_setspecific(registry.key, heap);
  } else {
    heap_detach(heap);
  }
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
  if (early_heap != nullptr) return thread_heap = early_heap;
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
    heap->exit_round = 0;
  }
  thread_heap = heap;
  if (!started) early_heap = heap;
  // May allocate, which works from here on. Should it fail, the heap stays with the ended thread.
  if (has_key) pthread_setspecific(registry.key, heap);
  return thread_heap;
}

void heap_start() {
  if (thread_heap == nullptr) thread_heap = early_heap;
  early_heap = nullptr;
  started = true;
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

}  // namespace

void heap_fork_prepare() {
  for_each_lock(fork_lock);
  forking_thread.store_relaxed(os_thread_id());
}

void heap_fork_parent() {
  forking_thread.store_relaxed(0);
  for_each_lock(fork_unlock);
}

void heap_fork_child() {
  // Only this thread exists here. Heaps of threads that are gone become orphans.
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap == thread_heap || heap->state.load_relaxed() != HeapState::owned) continue;
    heap->inherited++;
    heap_collect(*heap);
    heap_retire_active(*heap);
    heap->state.store_relaxed(HeapState::orphan);
    heap->next_orphan = registry.orphans;
    registry.orphans = heap;
    registry.owned.store_relaxed(registry.owned.load_relaxed() - 1);
  }
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap->state.load_relaxed() == HeapState::orphan) remote_flush(*heap);
  }
  heap_fork_parent();
}

}  // namespace poolalloc
