// Heaps that the program makes (program_heap.h).
//
// Who may use it: through program_heap.h.
#include "heap/program_heap.h"

#include <string.h>

#include "base/policy.h"
#include "base/record.h"
#include "chunk/extent.h"
#include "chunk/os_source.h"
#include "chunk/purge.h"
#include "heap/holes.h"
#include "heap/misuse.h"
#include "heap/profiled.h"
#include "heap/registry.h"
#include "heap/usage.h"

namespace poolalloc {

__thread ProgramHeap* program_target;
constinit Atomic<size_t> program_large_count{0};

namespace {

// Heaps that were deleted. Synchronization: the registry's lock.
constinit ProgramHeap* spare = nullptr;

// In the child of a fork: a thread that is gone was changing it.
bool is_lost(const ProgramHeap& heap) { return heap.heap.gate->state.load_relaxed() == HeapState::lost; }

// Holds the heap's lock, if the heap may be used.
class ProgramGuard {
 public:
  PA_INLINE explicit ProgramGuard(ProgramHeap& heap) : lock_(heap.heap.gate->lock) {
    // A single thread needs no atomic operations. What a signal handler does in between is over when this goes on.
    if (PA_LIKELY(!os_has_threads() && lock_.word.load_relaxed() == 0)) {
      lock_.word.store_relaxed(os_thread_id());
      compiler_barrier();
      how_ = How::alone;
    } else {
      how_ = lock_try_acquire(lock_) || acquire_slow(heap) ? How::locked : How::not_usable;
    }
  }
  PA_INLINE ~ProgramGuard() {
    if (PA_LIKELY(how_ == How::alone && !os_has_threads())) {
      compiler_barrier();
      lock_.word.store_relaxed(0);
    } else if (how_ != How::not_usable) {
      lock_release(lock_);
    }
  }
  ProgramGuard(const ProgramGuard&) = delete;
  ProgramGuard& operator=(const ProgramGuard&) = delete;
  explicit operator bool() const { return how_ != How::not_usable; }

 private:
  // It may not when it is lost, nor by what program_heap_visit calls.
  static PA_NOINLINE bool acquire_slow(ProgramHeap& heap) {
    Lock& lock = heap.heap.gate->lock;
    if (is_lost(heap)) return false;
    if (lock_is_mine(lock) && heap.is_visited) {
      Message message;
      message.text("a heap is used by the function that visits it");
      misuse_say(message);
      return false;
    }
    lock_acquire(lock);
    return true;
  }

  enum class How : uint8_t { not_usable, alone, locked };
  Lock& lock_;
  How how_;
};

// A block for a heap that may not be used: of the thread's own, if it is lost.
void* alloc_without(const ProgramHeap& heap, size_t size) {
  if (!is_lost(heap)) return nullptr;
  ProgramScope scope(nullptr);
  return heap_malloc_slow(size);
}

bool has_room(const ProgramHeap& heap, size_t size) {
  return heap.bytes <= heap.limit && size <= heap.limit - heap.bytes;
}

void count_in(ProgramHeap& heap, size_t size) {
  heap.bytes += size;
  heap.blocks++;
  if (heap.bytes > heap.peak) heap.peak = heap.bytes;
}
void count_out(ProgramHeap& heap, size_t size) {
  heap.bytes -= size;
  heap.blocks--;
}

// --- Large blocks ------------------------------------------------------------------------------------------

ProgramLarge* record_take(ProgramHeap& heap) {
  ProgramLarge* record = heap.unused;
  if (record == nullptr)
    return static_cast<ProgramLarge*>(pool_alloc(heap.records, sizeof(ProgramLarge), alignof(ProgramLarge), kOsSource));
  heap.unused = record->next;
  return record;
}

void record_remove(ProgramHeap& heap, ProgramLarge* record) {
  (record->previous != nullptr ? record->previous->next : heap.large) = record->next;
  if (record->next != nullptr) record->next->previous = record->previous;
  count_out(heap, record->size);
  record->next = heap.unused;
  heap.unused = record;
  program_large_count.sub_relaxed(1);
}

// The start of a large block that the heap has forgotten; nullptr: it has none.
void* large_take(ProgramHeap& heap) {
  ProgramGuard guard(heap);
  if (!guard || heap.large == nullptr) return nullptr;
  void* start = heap.large->start;
  extent_holder_take(start);
  record_remove(heap, heap.large);
  return start;
}

// --- Pools -------------------------------------------------------------------------------------------------

// But for some of those that are in use, which start anew, if they are to be kept: they count as in use.
void pools_release(ProgramHeap& heap, bool keeps) {
  constexpr unsigned kKeptMost = 16;
  unsigned kept = 0;
  for (unsigned c = 0; c < kClassCount; c++) {
    PoolChain& chain = heap.heap.chains[c];
    if (chain.active != nullptr) heap_active_restart(heap.heap, c);
    bool stays = keeps && chain.active != nullptr && chain.active->slice_count == 1 && kept < kKeptMost;
    kept += stays;
    if (!stays) heap_active_release(heap.heap, c);
    while (chain.first != nullptr) heap_pool_vacate(heap.heap, chain.first);
  }
  while (heap.parked != nullptr) heap_pool_vacate(heap.heap, heap.parked);
  heap.bytes = heap.blocks = 0;
}

// Whether a block of the pool is free: its first word may be a copy of a link.
PA_COLD bool pool_has_free(const BlockPool& pool, const Block* block) {
  char* const base = slice_address(&pool);
  const size_t size = class_size(pool.size_class);
  return FreeBlocks(pool, base, size, pool_holes(&pool)).has(unsigned((address_of(block) - address_of(base)) / size));
}

bool pool_visit(const BlockPool& pool, const ProgramVisitor& visitor) {
  char* const base = slice_address(&pool);
  const size_t size = class_size(pool.size_class);
  const FreeBlocks free(pool, base, size, pool_holes(&pool));
  for (unsigned i = 0; i < pool.size; i++) {
    char* block = base + i * size;
    if (free.has(i)) continue;
    size_t usable = size;
    if constexpr (kHardened) {
      const Record record = record_unpack(block, record_word(block, size).load_acquire());
      if (record.state != RecordState::live) continue;
      usable = record.size;
    }
    if (!visitor.block(visitor.context, block, usable)) return false;
  }
  return true;
}

bool pools_visit(const BlockPool* first, const ProgramVisitor& visitor) {
  for (const BlockPool* pool = first; pool != nullptr; pool = pool->next) {
    if (!pool_visit(*pool, visitor)) return false;
  }
  return true;
}

}  // namespace

ProgramHeap* program_heap_make(const char* name, size_t limit) {
  // Makes the secret of links, if nobody has allocated yet.
  if (thread_heap == nullptr) heap_attach();
  ProgramHeap* made;
  {
    SharedLockGuard guard(registry.lock);
    made = spare;
    if (made != nullptr) {
      spare = made->next_spare;
    } else {
      // Locked; other fields of fresh memory are zero.
      made = reinterpret_cast<ProgramHeap*>(heap_create(sizeof(ProgramHeap)));
      if (made == nullptr) return nullptr;
      made->heap.program = made;
      made->heap.gate->state.store_relaxed(HeapState::program);
      lock_release(made->heap.gate->lock);
      // Nobody else knows it yet, but a sweep that only tries the lock.
      made->heap.gate->lock.rank = LockRank::program_heap;
    }
  }
  size_t length = name != nullptr ? strlen(name) : 0;
  if (length > ProgramHeap::kNameMost) length = ProgramHeap::kNameMost;
  if (length != 0) memcpy(made->name, name, length);
  made->name[length] = 0;
  made->limit = limit;
  made->peak = 0;
  made->records = pool_without_buffer(kOsSourceCapacity);
  return made;
}

ProgramFigures program_heap_figures(ProgramHeap& heap) {
  ProgramGuard guard(heap);
  return {heap.bytes, heap.blocks, heap.peak, heap.limit};
}

// False: the heap may not be used now, and nothing was done.
static bool release_all(ProgramHeap& heap, void (*discard)(void* start), bool keeps) {
  if (ProgramGuard guard(heap); !guard && !is_lost(heap)) return false;
  if (profile_is_known()) profiled_emptied(heap);
  while (void* start = large_take(heap)) discard(start);
  const size_t released = heap.bytes;
  if (ProgramGuard guard(heap); guard) pools_release(heap, keeps);
  heap_slow_path_end(released);
  return true;
}

void program_heap_release_all(ProgramHeap& heap, void (*discard)(void* start)) { release_all(heap, discard, true); }

void program_heap_delete(ProgramHeap& heap, void (*discard)(void* start)) {
  if (!release_all(heap, discard, false)) return;
  heap.unused = nullptr;
  pool_free(heap.records, kOsSource);
  SharedLockGuard guard(registry.lock);
  if (is_lost(heap)) return;
  heap.next_spare = spare;
  spare = &heap;
}

void* program_alloc(ProgramHeap& heap, size_t size) {
  const unsigned c = size_class_of(size);
  FreeList& list = heap.heap.active[c];
  bool is_refilled, has_grown = false;
  Block* block;
  {
    ProgramGuard guard(heap);
    if (PA_UNLIKELY(!guard)) return alloc_without(heap, size);
    if (PA_UNLIKELY(!has_room(heap, class_size(c)))) return nullptr;
    block = list_pop(list, kReach);
    is_refilled = PA_UNLIKELY(block == nullptr);
    if (is_refilled) {
      const unsigned pools = heap.heap.chains[c].pool_count;
      block = heap_pop_refilled(heap.heap, c);
      has_grown = heap.heap.chains[c].pool_count != pools;
    }
    if (block != nullptr) count_in(heap, class_size(c));
  }
  if (PA_UNLIKELY(is_refilled)) {
    usage_note(1);
    misuse_report();
    if (has_grown) heap_slow_path_end(kWidePoolSize);
  }
  if (profile_is_known() && block != nullptr) profiled_program_made(heap, block, size, class_size(c));
  return block;
}

void program_free(BlockPool* pool, Block* block) {
  ProgramHeap& heap = *program_of(pool);
  const size_t size = class_size(pool->size_class);
  void* const profiled = profile_is_known() ? profiled_take(&heap, block) : nullptr;
  bool is_free, settles;
  {
    ProgramGuard guard(heap);
    if (!guard) return profiled_give(heap, profiled, false);
    // Another thread may have freed it since it was looked at.
    is_free = PA_UNLIKELY(block_is_linked(block)) && pool_has_free(*pool, block);
    settles = false;
    if (!is_free) {
      FreeList& list = *pool->list;
      list_push(list, block);
      count_out(heap, size);
      settles = list_count_down(list);
      if (settles) heap_pool_settle(heap.heap, pool);
    }
  }
  profiled_give(heap, profiled, !is_free);
  if (is_free) return misuse_free_already(Caller::free, block, size);
  if (settles) heap_slow_path_end(kWidePoolSize);
}

bool program_fits(ProgramHeap& heap, size_t size) {
  ProgramGuard guard(heap);
  return guard ? has_room(heap, round_up(size, os_page_size())) : is_lost(heap);
}

bool program_large_adopt(ProgramHeap& heap, void* start, bool is_forced) {
  const size_t size = extent_block_size(start);
  ProgramGuard guard(heap);
  if (!guard) return is_lost(heap);
  if (!is_forced && !has_room(heap, size)) return false;
  ProgramLarge* record = record_take(heap);
  if (record == nullptr) return false;
  *record = {&heap, start, size, heap.large, nullptr};
  if (heap.large != nullptr) heap.large->previous = record;
  heap.large = record;
  count_in(heap, size);
  program_large_count.add_relaxed(1);
  extent_holder_set(start, record);
  return true;
}

bool program_large_forget(const void* start, ProgramHeap** heap) {
  *heap = program_large_holder(start);
  if (*heap == nullptr) return true;
  ProgramGuard guard(**heap);
  if (!guard && !is_lost(**heap)) return false;
  // Another thread may have taken it since.
  auto* record = static_cast<ProgramLarge*>(extent_holder_take(start));
  if (record == nullptr) *heap = nullptr;
  if (record != nullptr && guard) record_remove(**heap, record);
  return true;
}

ProgramHeap* program_large_holder(const void* start) {
  const auto* record = static_cast<const ProgramLarge*>(extent_holder(start));
  return record != nullptr ? record->heap : nullptr;
}

bool program_heap_visit(ProgramHeap& heap, const ProgramVisitor& visitor) {
  ProgramGuard guard(heap);
  if (!guard) return false;
  heap.is_visited = true;
  bool goes_on = true;
  for (const PoolChain& chain : heap.heap.chains) {
    if (!goes_on) break;
    goes_on = (chain.active == nullptr || pool_visit(*chain.active, visitor)) && pools_visit(chain.first, visitor);
  }
  goes_on = goes_on && pools_visit(heap.parked, visitor);
  for (ProgramLarge* each = heap.large; goes_on && each != nullptr; each = each->next)
    goes_on = visitor.large(visitor.context, each->start, each->size);
  heap.is_visited = false;
  return goes_on;
}

// --- The target of the calling thread ------------------------------------------------------------------------

void program_targets_inherit() {
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    if (gate->state.load_relaxed() == HeapState::program) gate->heap->program->pushed.store_relaxed(0);
  }
  if (!heap_is_usable(thread_heap)) return;
  for (unsigned i = 0; i < thread_heap->target_count; i++) thread_heap->targets[i]->pushed.add_relaxed(1);
}

bool program_push(ProgramHeap& heap) {
  Heap* own = thread_heap;
  if (!heap_is_usable(own)) own = heap_attach();
  if (own == nullptr || own->target_count == kTargetsMost) return false;
  if (own->target_count == 0) meter_divert(*own);
  heap.pushed.add_relaxed(1);
  own->targets[own->target_count++] = program_target = &heap;
  return true;
}

bool program_pop() {
  Heap* own = thread_heap;
  if (!heap_is_usable(own) || own->target_count == 0) return false;
  own->targets[--own->target_count]->pushed.sub_relaxed(1);
  program_target = own->target_count != 0 ? own->targets[own->target_count - 1] : nullptr;
  if (own->target_count == 0) {
    LockGuard held(own->gate->lock);
    meter_undivert(*own);
  }
  return true;
}

}  // namespace poolalloc
