// The door for samples (sample.h).
//
// Who may use it: through sample.h.
#include "heap/sample.h"

#include "base/random.h"
#include "heap/find.h"
#include "heap/guard.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "os/os.h"

namespace poolalloc {

constinit Atomic<uint64_t> sample_interval{0};

namespace {

// Blocks on a metered list, at the most: what a slow path costs is shared by so many.
constexpr unsigned kMeteredMost = 32;

// The step of a stop: a link for all who see it, as those of free blocks are, but no pool of one slice reaches so far,
// and no list ends there.
constexpr uintptr_t kStop = kChunkSize / 2;
static_assert(kStop >= kSliceSize && kStop < kReach && kStop % kBlockAlignment == 0);

constinit Atomic<uint64_t> samples{0};
// 1 / log2 of a malloc's chance not to be sampled. Synchronization: written before sample_interval.
constinit double draw_scale = 0;

// --- Chance -----------------------------------------------------------------------------------------------

uint64_t random_next(Meter& meter) { return random_mix(meter.random += kRandomStep); }

// To nine digits; x != 0. One bit for each squaring.
double log2_of(uint64_t x) {
  unsigned whole = log2_floor(x);
  double rest = double(x << (63 - whole) >> 11) / double(uint64_t{1} << 52);
  double result = whole;
  for (double bit = 0.5; bit > 1e-10; bit /= 2) {
    rest *= rest;
    if (rest < 2) continue;
    rest /= 2;
    result += bit;
  }
  return result;
}

double scale_of(uint64_t interval) {
  if (interval == 1) return 0;
  constexpr double kLn2 = 0.6931471805599453;
  if (interval > 1000) return (double(interval) - 0.5) * kLn2;
  return 1 / (log2_of(interval) - log2_of(interval - 1));
}

// How many are not sampled before one is: geometric.
uint64_t draw(Meter& meter) { return uint64_t((64 - log2_of(random_next(meter) | 1)) * draw_scale); }

// --- Metered lists ----------------------------------------------------------------------------------------

bool is_stop(const Block* block) { return link_step(block) == kStop; }
void link_stop(Block* block) { block->link = link_to(block, pointer_to<Block>(address_of(block) ^ kStop)); }

// Each of these is one write that a forked child sees or not.
void list_put(FreeList& list, Block* head) {
  compiler_barrier();
  __atomic_store_n(&list.head, head, __ATOMIC_RELAXED);
  compiler_barrier();
}

// Leads the heap's small_lists to the metered lists, which have no blocks.
void lists_lead_here(Heap& heap) {
  for (FreeList& list : heap.meter.lists) list.head = &no_block.end;
  compiler_barrier();
  for (unsigned i = 0; i <= kSmallMax / 16; i++)
    heap.small_lists.offset[i] = uint16_t(offsetof(Heap, meter.lists) + kSizeClasses.small[i] * sizeof(FreeList));
}

void meter_start(Heap& heap) {
  Meter& meter = heap.meter;
  uint64_t random[2];
  os_random(random);
  meter.random = random_mix(random[0] ^ random_mix(random[1] + address_of(&heap)) ^ os_clock_ms());
  meter.until = draw(meter);
  lists_lead_here(heap);
  meter.is_on = true;
}
static_assert(offsetof(Heap, meter) + sizeof(Meter) <= UINT16_MAX, "an offset has 16 bits");

// Counts a malloc that no list serves; whether it is the one.
bool is_sampled(Meter& meter) {
  if (meter.until-- != 0) return false;
  meter.until = draw(meter);
  return true;
}

// What list_pop has left: the last block, or nullptr.
Block* take_last(FreeList& list) {
  Block* block = list.head;
  if (is_list_end(block)) return nullptr;
  bool is_broken = !is_stop(block);
  list_put(list, &no_block.end);
  if (is_broken) {
    // It was written to after it was freed; nobody can tell what is behind it.
    links_give_up(block);
    return nullptr;
  }
  block->link = 0;
  return block;
}

// Puts blocks of the active pool on the empty metered list: those that are handed out before the next sample.
// Not where they are to stay empty, because the thread's target is another heap.
void fill(Heap& heap, unsigned c) {
  if (PA_UNLIKELY(heap.target_count != 0)) return;
  Meter& meter = heap.meter;
  const uint64_t most = meter.until < kMeteredMost ? meter.until : kMeteredMost;
  Block *first = nullptr, *last = nullptr;
  uint64_t count = 0;
  for (; count < most; count++) {
    Block* block = list_pop(heap.active[c], kSliceSize);
    if (block == nullptr) break;
    if (first == nullptr) {
      first = block;
    } else {
      last->link = link_to(last, block);
    }
    last = block;
  }
  if (count == 0) return;
  link_stop(last);
  meter.until -= count;
  if (meter.until == 0) {
    meter.due |= uint32_t{1} << c;
    meter.until = draw(meter);
  }
  list_put(meter.lists[c], first);
}

// --- Samples ----------------------------------------------------------------------------------------------

// nullptr: it is served like any other.
void* take_sample(Meter& meter, size_t size) {
  if (meter.is_sampling) return nullptr;
  samples.add_relaxed(1);
  meter.is_sampling = true;
  void* block = guard_alloc(size, random_next(meter));
  meter.is_sampling = false;
  return block;
}

void* metered_malloc(Heap& heap, unsigned c, size_t size) {
  Meter& meter = heap.meter;
  FreeList& list = meter.lists[c];
  const uint32_t bit = uint32_t{1} << c;
  Block* block = list_pop(list, kSliceSize);
  if (block == nullptr) block = take_last(list);
  if (block != nullptr) {
    if (list_is_empty(list) && (meter.due & bit) == 0) fill(heap, c);
    return block;
  }
  misuse_report();
  bool is_due = (meter.due & bit) != 0;
  meter.due &= ~bit;
  if (is_due || is_sampled(meter)) {
    if (void* sample = take_sample(meter, size)) return sample;
  }
  void* served = heap_alloc(heap, c);
  if (served != nullptr && list_is_empty(list)) fill(heap, c);
  return served;
}

}  // namespace

void sample_start(uint64_t interval) {
  draw_scale = scale_of(interval);
  // Release: the scale.
  sample_interval.store_release(interval);
  if (heap_is_usable(thread_heap) && !thread_heap->meter.is_on) meter_start(*thread_heap);
}

uint64_t sample_count() { return samples.load_relaxed(); }

PA_NOINLINE void* sample_malloc(Heap& heap, unsigned size_class, size_t size) {
  if (PA_UNLIKELY(!heap.meter.is_on)) meter_start(heap);
  if (size_class < kMeteredClasses) return metered_malloc(heap, size_class, size);
  if (is_sampled(heap.meter)) {
    if (void* sample = take_sample(heap.meter, size)) return sample;
  }
  return heap_alloc(heap, size_class);
}

void meter_return(Heap& heap) {
  if (!heap.meter.is_on) return;
  for (FreeList& list : heap.meter.lists) {
    while (!is_list_end(list.head)) {
      Block* block = list.head;
      uintptr_t step = link_step(block);
      BlockPool* pool = pool_find(block);
      if (pool == nullptr || (step >= kSliceSize && step != kStop)) {
        list_put(list, &no_block.end);
        links_give_up(block);
        break;
      }
      list_put(list, step == kStop ? &no_block.end : block_after(block, step));
      list_push(*pool->list, block);
      if (list_count_down(*pool->list)) heap_pool_settle(heap, pool);
    }
  }
  heap.meter.due = 0;
}

void meter_divert(Heap& heap) {
  if (!heap.meter.is_on) return lists_lead_here(heap);
  LockGuard held(heap.gate->lock);
  meter_return(heap);
}

void meter_undivert(Heap& heap) {
  if (!heap.meter.is_on) heap.small_lists = kSmallLists;
}

void meter_reseed(Heap& heap) { heap.meter.random = random_mix(heap.meter.random ^ uint64_t(os_process_id())); }

bool meter_is_valid(const Heap& heap) {
  if (!heap.meter.is_on) return true;
  for (unsigned c = 0; c < kMeteredClasses; c++) {
    const Block* block = heap.meter.lists[c].head;
    if (is_list_end(block)) {
      if (block != &no_block.end) return false;
      continue;
    }
    const BlockPool* pool = pool_find(block);
    for (unsigned count = 1;; count++) {
      if (pool == nullptr || pool->owner != &heap || pool->size_class != c || count > kMeteredMost) return false;
      if (is_stop(block)) break;
      if (link_step(block) >= kSliceSize) return false;
      block = block_after(block, link_step(block));
      if (pool_find(block) != pool) return false;
    }
  }
  return true;
}

}  // namespace poolalloc
