// Which thread has which heap: attaching at first use, letting go when the thread ends, adopting.
//
// Always holds: a Heap is never freed; it is in the list of all heaps from its creation on, and in
// the list of orphans exactly while it is one, vanished or not, and nobody is adopting it. No thread-local
// destructors: one pthread key, set when a heap is attached.
// Who may use it: heap.h declares what others may call.
#include <pthread.h>
#include <string.h>

#include "base/probe.h"
#include "chunk/os_source.h"
#include "chunk/purge.h"
#include "heap/evict.h"
#include "heap/misuse.h"
#include "heap/next_allocator.h"
#include "heap/program_heap.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "os/os.h"

namespace poolalloc {

__thread Heap* thread_heap;
constinit Atomic<void (*)()> heap_before_detach{nullptr};
static constinit HeapGate shared_gate{
    .lock = {{0}, LockRank::shared_heap},
    .state = {HeapState::shared},
    .heap = &shared_heap,
    .next = nullptr,
    .next_orphan = nullptr,
};
constinit Heap shared_heap{
    .active = {},
    .small_lists = {},
    .chains = {},
    .batches = {},
    .batch_cursor = 0,
    .batch_count = 0,
    .outbox = {},
    .sent = {},
    .sent_messages = 0,
    .taken = {},
    .patience_from = 0,
    .spared_count = 0,
    .walked_window = 0,
    .paths_since_walk = 0,
    .small_path_count = 0,
    .walk_patience = 0,
    .loose = 0,
    .filled = 0,
    .batches_busy = {0},
    .batches_seized = {0},
    .seized_ms = 0,
    .spares = {},
    .slice_count = 0,
    .released = 0,
    .untouched_change = 0,
    .density = {{0}, {0}},
    .has_evicted = false,
    .is_trimmed = false,
    .changed_ms = 0,
    .program = nullptr,
    .targets = {},
    .target_count = 0,
    .thread_number = 0,
    .mailbox = {nullptr},
    .mail_count = {0},
    .mail_patience = {kMailPatience},
    .gate = &shared_gate,
    .meter = {},
};

constinit HeapRegistry registry{
    .lock = {{0}, LockRank::heaps},
    .all = {&shared_gate},
    .orphans = nullptr,
    .memory = pool_without_buffer(kOsSourceCapacity),
    .gate = nullptr,
    .vanished = 0,
    .owned = {0},
    .owned_peak = {0},
    .key = 0,
    .key_created = false,
};

namespace {

// ld.so may fill in, and so reset, a thread's thread-local variables after the thread has allocated for
// the first time; it gets the same heap again. Only before the library's constructor has run.
struct EarlyHeap {
  Heap* heap;
  uintptr_t thread;
  bool started;  // the constructor has run
};
constinit EarlyHeap early{nullptr, 0, false};

// Of a process's only thread, from its start: a sandbox may forbid the system call later.
constinit uint32_t single_thread_number = 0;

void orphan_push(Heap* heap) {
  LockGuard guard(registry.lock);
  heap->gate->next_orphan = registry.orphans;
  registry.orphans = heap->gate;
  registry.owned.store_relaxed(registry.owned.load_relaxed() - 1);
}

// Lets go of the calling thread's heap. From here on its own frees are remote ones.
void heap_detach(Heap* heap) {
  PA_PROBE1(heap_detach, heap);
  remote_flush(*heap);
  // Before signals are blocked (lock.h). The heap is the thread's until then: a handler may fork.
  lock_acquire(heap->gate->lock);
  SignalsBlocked blocked;
  // Every thread that ends writes the same.
  for (FreeList& list : heap_ended.active) __atomic_store_n(&list.head, &no_block.end, __ATOMIC_RELAXED);
  small_lists_lead_to(heap_ended, heap_ended.active);
  thread_heap = &heap_ended;
  heap_collect(*heap);
  heap_retire(*heap);
  PA_CHECK(heap_is_valid(*heap));
  heap->gate->state.store_relaxed(HeapState::orphan);
  heap_changed(*heap);
  lock_release(heap->gate->lock);
  // State before the look at the mailbox, as in mailbox_push the message before the look at the
  // state: a message that came after the collection is seen by one of the two.
  fence_seq_cst();
  heap_drain_orphan(*heap);
  orphan_push(heap);
  misuse_report();
  purge_excess(kWidePoolSize);
}

// The key's destructor. Destructors that run later and allocate are served by the shared heap. The
// key's value is not looked at: where a process has two libcs, the other one's threads may have stored
// it.
void thread_ends(void*) { heap_let_go(); }

// registry.lock held; nullptr: no memory.
HeapGate* gate_make() {
  constexpr size_t kTogether = 32 * sizeof(HeapGate);
  if (address_of(registry.gate) % kTogether == 0)
    registry.gate = static_cast<HeapGate*>(pool_alloc(registry.memory, kTogether, kTogether, kOsSource));
  return registry.gate != nullptr ? registry.gate++ : nullptr;
}

// An orphan that nobody is at, or a new heap; locked. registry.lock held; nullptr: no memory.
Heap* heap_take() {
  for (HeapGate** at = &registry.orphans; *at != nullptr; at = &(*at)->next_orphan) {
    HeapGate* gate = *at;
    if (!lock_try_acquire(gate->lock)) continue;
    *at = gate->next_orphan;
    chaos_note(ChaosEvent::orphan_adopted);
    if (gate->state.load_relaxed() == HeapState::vanished) heap_inherit(*gate->heap);
    return gate->heap;
  }
  return heap_create(sizeof(Heap));
}

// The key whose destructor lets go of heaps; whether there is one. registry.lock held.
bool key_make() {
  if (!registry.key_created) registry.key_created = pthread_key_create(&registry.key, thread_ends) == 0;
  return registry.key_created;
}

}  // namespace

Heap* heap_create(size_t size) {
  HeapGate* gate = gate_make();
  Heap* heap = static_cast<Heap*>(pool_alloc(registry.memory, size, kCacheLine, kOsSource));
  if (gate == nullptr || heap == nullptr) return nullptr;
  // Fresh mappings are zero, which is an empty heap but for these.
  for (FreeList& list : heap->active) list.head = &no_block.end;
  small_lists_lead_to(*heap, heap->active);
  heap->mail_patience.store_relaxed(kMailPatience);
  heap->gate = gate;
  gate->heap = heap;
  gate->lock.rank = LockRank::heap;
  PA_VERIFY(lock_try_acquire(gate->lock));
  gate->next = registry.all.load_relaxed();
  // Release: the heap is complete for those who walk the list.
  registry.all.store_release(gate);
  return heap;
}

void heap_inherit(Heap& heap) {
  heap_collect(heap);
  heap_retire(heap);
  heap.batches_busy.store_relaxed(0);
  heap.target_count = 0;
  heap.meter.is_busy = heap.meter.is_sampling = false;
  meter_undivert(heap);
  heap.gate->state.store_relaxed(HeapState::orphan);
  heap_changed(heap);
}

void heap_let_go() {
  if (!heap_is_usable(thread_heap)) return;
  // Acquire: what this thread itself has set is what matters.
  if (void (*before)() = heap_before_detach.load_acquire()) before();
  while (program_pop()) {
  }
  heap_detach(thread_heap);
}

Heap* heap_attach() {
  if (thread_heap == &heap_ended || next_allocator() != nullptr) return nullptr;
  // The first call of the process, while it has one thread.
  if (PA_UNLIKELY(link_secret == 0)) {
    uint64_t random[2];
    os_random(random);
    link_secret_make(random);
    if constexpr (kHardened) random_state.store_relaxed(random[0] + os_clock_ms());
  }
  if (early.heap != nullptr && early.thread == os_thread_id()) return thread_heap = early.heap;
  Heap* heap;
  bool has_key;
  SignalsBlocked blocked;
  {
    LockGuard guard(registry.lock);
    has_key = key_make();
    heap = heap_take();
    if (heap == nullptr) return nullptr;
    unsigned owned = registry.owned.load_relaxed() + 1;
    registry.owned.store_relaxed(owned);
    if (owned > registry.owned_peak.load_relaxed()) registry.owned_peak.store_relaxed(owned);
    heap->gate->state.store_relaxed(HeapState::owned);
    // A handler that forks finds it locked, or the thread's.
    thread_heap = heap;
    lock_release(heap->gate->lock);
  }
  PA_PROBE1(heap_attach, heap);
  if (!early.started && early.heap == nullptr) early = EarlyHeap{heap, os_thread_id(), false};
  heap->thread_number = os_has_threads() ? os_thread_number_known() : single_thread_number;
  // May allocate, which works from here on. Should it fail, the heap stays with the ended thread.
  if (has_key) pthread_setspecific(registry.key, heap);
  return thread_heap;
}

void heap_note_single_thread() {
  single_thread_number = os_thread_number();
  if (heap_is_usable(thread_heap)) thread_heap->thread_number = single_thread_number;
}

void heap_start() {
  {
    // Before the program makes keys of its own: libc has a few that cost no memory, and not many others.
    SharedLockGuard guard(registry.lock);
    key_make();
  }
  lock_of_copy.store_relaxed(heap_copy_found);
  if (thread_heap == nullptr && early.thread == os_thread_id()) thread_heap = early.heap;
  heap_note_single_thread();
  early = EarlyHeap{nullptr, 0, true};
}

HeapGate* heap_list() {
  // Acquire: paired with the release in heap_take.
  return registry.all.load_acquire();
}
unsigned heap_thread_peak() { return registry.owned_peak.load_relaxed(); }
unsigned heap_thread_count() { return registry.owned.load_relaxed(); }
unsigned heap_vanished_count() { return registry.vanished; }

}  // namespace poolalloc
