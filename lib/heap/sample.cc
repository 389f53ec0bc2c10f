// The door for samples (sample.h).
//
// Who may use it: through sample.h.
#include "heap/sample.h"

#include "base/random.h"
#include "heap/find.h"
#include "heap/guard.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "heap/profiled.h"
#include "os/os.h"

namespace poolalloc {

constinit SampleInterval sample_mallocs{{0}, {0}}, sample_bytes{{0}, {0}};
constinit Atomic<bool> sample_is_used{false};

namespace {

// The step of a stop: a link for all who see it, as those of free blocks are, but no pool of one slice reaches so far,
// and no list ends there.
constexpr uintptr_t kStop = kChunkSize / 2;
static_assert(kStop >= kSliceSize && kStop < kReach && kStop % kBlockAlignment == 0);

constinit Atomic<uint64_t> samples{0};

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

// e to the power of -x, x >= 0, to twelve digits.
double exp_minus(double x) {
  if (x > 40) return 0;
  unsigned halvings = 0;
  for (; x > 1.0 / 16; x /= 2) halvings++;
  double sum = 1, term = 1;
  for (int i = 1; i < 9; i++) sum += term *= -x / i;
  for (; halvings > 0; halvings--) sum *= sum;
  return sum;
}

constexpr double kLn2 = 0.6931471805599453;

// 1 / log2 of the chance of one in so many not to be the sample.
double scale_of(uint64_t interval) {
  if (interval <= 1) return 0;
  if (interval > 1000) return (double(interval) - 0.5) * kLn2;
  return 1 / (log2_of(interval) - log2_of(interval - 1));
}

// How many are not sampled before one is: geometric.
uint64_t draw(Meter& meter, const SampleInterval& of) {
  const double scale = of.scale.load_relaxed();
  return scale == 0 ? 0 : uint64_t((64 - log2_of(random_next(meter) | 1)) * scale);
}

// Whether there is sampling of that kind; what was drawn for another interval is drawn anew.
bool is_counted(Meter& meter, Countdown& countdown, const SampleInterval& of) {
  // Acquire: the scale.
  const uint64_t interval = of.interval.load_acquire();
  if (PA_UNLIKELY(countdown.interval != interval)) countdown = {draw(meter, of), interval, 0};
  return interval != 0;
}

// Counts what no list serves, `amount` mallocs or bytes; whether the sample is in it.
bool is_sampled(Meter& meter, Countdown& countdown, const SampleInterval& of, uint64_t amount) {
  if (!is_counted(meter, countdown, of)) return false;
  const bool is_it = countdown.left < amount;
  countdown.left = is_it ? draw(meter, of) : countdown.left - amount;
  return is_it;
}

// The same for the malloc behind a metered list.
bool is_sampled_behind(Meter& meter, Countdown& countdown, const SampleInterval& of, unsigned c, uint64_t amount) {
  const uint32_t bit = uint32_t{1} << c;
  const bool is_due = (countdown.due & bit) != 0;
  countdown.due &= ~bit;
  return is_due ? of.interval.load_relaxed() != 0 : is_sampled(meter, countdown, of, amount);
}

// How many blocks, each of which counts for `amount`, a list may have.
uint64_t blocks_before(Meter& meter, Countdown& countdown, const SampleInterval& of, uint64_t amount) {
  return is_counted(meter, countdown, of) ? countdown.left / amount : kMeteredMost;
}

// So many are on list c. `is_short`: there would be more, if a sample were not to come before; the one that comes is
// that of the malloc behind them, whatever others do until then.
void spend(Meter& meter, Countdown& countdown, const SampleInterval& of, unsigned c, uint64_t count, uint64_t amount,
           bool is_short) {
  if (countdown.interval == 0) return;
  countdown.left -= count * amount;
  if (!is_short || countdown.left >= amount) return;
  countdown.due |= uint32_t{1} << c;
  countdown.left = draw(meter, of);
}

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
  for (FreeList& list : heap.meter.lists) __atomic_store_n(&list.head, &no_block.end, __ATOMIC_RELAXED);
  small_lists_lead_to(heap, heap.meter.lists);
}

bool lists_are_here(const Heap& heap) {
  return __atomic_load_n(&heap.small_lists.of[0], __ATOMIC_RELAXED) == heap.meter.lists;
}

bool is_wanted() { return (sample_mallocs.interval.load_relaxed() | sample_bytes.interval.load_relaxed()) != 0; }

// The owner.
void meter_start(Heap& heap) {
  Meter& meter = heap.meter;
  uint64_t random[2];
  os_random(random);
  meter.random = random_mix(random[0] ^ random_mix(random[1] + address_of(&heap)) ^ os_clock_ms());
  LockGuard held(heap.gate->lock);
  lists_lead_here(heap);
  meter.is_on = true;
}

// Sampling was on. The owner, without a target.
void meter_stop(Heap& heap) {
  LockGuard held(heap.gate->lock);
  // It may have been switched on again meanwhile, by one who looked here before.
  if (is_wanted()) return;
  meter_return(heap);
  small_lists_lead_to(heap, heap.active);
  heap.meter.is_on = false;
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

// Puts the first blocks of the active pool's list on the empty metered one: those that are handed out before the next
// sample. Counts before it looks, as list_pop does. Not where they are to stay empty, because the thread's target is
// another heap.
void fill(Heap& heap, unsigned c) {
  if (PA_UNLIKELY(heap.target_count != 0)) return;
  Meter& meter = heap.meter;
  const size_t size = class_size(c);
  uint64_t most = kMeteredMost;
  const uint64_t mallocs = blocks_before(meter, meter.mallocs, sample_mallocs, 1);
  const uint64_t blocks = blocks_before(meter, meter.bytes, sample_bytes, size);
  if (mallocs < most) most = mallocs;
  if (blocks < most) most = blocks;
  FreeList& from = heap.active[c];
  list_count_add(from, int64_t(most));
  compiler_barrier();
  Block* const first = __atomic_load_n(&from.head, __ATOMIC_RELAXED);
  Block *last = nullptr, *next = first;
  uint64_t count = 0;
  if (!is_list_end(next)) {
    uintptr_t step;
    for (; (step = link_step(next)) < kSliceSize && count < most; count++) {
      last = next;
      next = block_after(next, step);
    }
    // The last one leads to the end. What is broken stays where it is, for who takes it off.
    if (count < most && step < kReach && is_list_end(block_after(next, step))) {
      last = next;
      next = block_after(next, step);
      count++;
    }
  }
  if (count != 0) {
    // Release: whoever sees the head sees the count.
    __atomic_store_n(&from.head, next, __ATOMIC_RELEASE);
    compiler_barrier();
    link_stop(last);
    list_put(meter.lists[c], first);
  }
  const bool is_short = count == most && most < kMeteredMost && !is_list_end(next);
  spend(meter, meter.mallocs, sample_mallocs, c, count, 1, is_short);
  spend(meter, meter.bytes, sample_bytes, c, count, size, is_short);
  list_count_add(from, int64_t(count) - int64_t(most));
}

// While one lives, the owner is at the meter: a handler of signals keeps off.
class MeterBusy {
 public:
  explicit MeterBusy(Meter& meter) : meter_(meter) { set(true); }
  ~MeterBusy() { set(false); }
  MeterBusy(const MeterBusy&) = delete;
  MeterBusy& operator=(const MeterBusy&) = delete;

 private:
  void set(bool is_busy) {
    compiler_barrier();
    meter_.is_busy = is_busy;
    compiler_barrier();
  }
  Meter& meter_;
};

// --- Samples ----------------------------------------------------------------------------------------------

// nullptr: it is served like any other.
void* take_sample(Heap& heap, unsigned c, size_t size, bool for_guard, bool for_profile) {
  Meter& meter = heap.meter;
  if (meter.is_sampling || !(for_guard || for_profile)) return nullptr;
  if (for_guard) samples.add_relaxed(1);
  SamplePause pause;
  void* block = for_profile ? profiled_alloc(c, size) : nullptr;
  return block == nullptr && for_guard ? guard_alloc(size, random_next(meter)) : block;
}

void* metered_malloc(Heap& heap, unsigned c, size_t size) {
  Meter& meter = heap.meter;
  FreeList& list = meter.lists[c];
  Block* block = list_pop(list, kSliceSize);
  if (block == nullptr) block = take_last(list);
  if (block != nullptr) {
    const bool is_due = ((meter.mallocs.due | meter.bytes.due) >> c & 1) != 0;
    if (list_is_empty(list) && !is_due) fill(heap, c);
    return block;
  }
  misuse_report();
  const bool for_guard = is_sampled_behind(meter, meter.mallocs, sample_mallocs, c, 1);
  const bool for_profile = is_sampled_behind(meter, meter.bytes, sample_bytes, c, class_size(c));
  if (void* sample = take_sample(heap, c, size, for_guard, for_profile)) return sample;
  void* served = heap_alloc(heap, c);
  if (served != nullptr && list_is_empty(list)) fill(heap, c);
  return served;
}

}  // namespace

// Every thread comes by at its next malloc.
static void start(SampleInterval& of, uint64_t interval) {
  of.scale.store_relaxed(scale_of(interval));
  // Release: the scale.
  of.interval.store_release(interval);
  sample_is_used.store_relaxed(true);
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    if (gate->state.load_relaxed() != HeapState::owned) continue;
    LockGuard held(gate->lock);
    if (!gate->heap->meter.is_on) lists_lead_here(*gate->heap);
  }
}

void sample_start(uint64_t interval) { start(sample_mallocs, interval); }
void sample_start_bytes(uint64_t interval) {
  if (interval != 0) return start(sample_bytes, interval);
  sample_bytes.interval.store_relaxed(0);
}

double sample_chance(size_t bytes) {
  const double scale = sample_bytes.scale.load_relaxed();
  return scale == 0 ? 1 : 1 - exp_minus(double(bytes) * kLn2 / scale);
}

uint64_t sample_count() { return samples.load_relaxed(); }

SamplePause::SamplePause() : meter_(heap_is_usable(thread_heap) ? &thread_heap->meter : nullptr) {
  if (meter_ == nullptr) return;
  before_ = meter_->is_sampling;
  meter_->is_sampling = true;
}
SamplePause::~SamplePause() {
  if (meter_ != nullptr) meter_->is_sampling = before_;
}

PA_NOINLINE void* sample_malloc(Heap& heap, unsigned size_class, size_t size) {
  Meter& meter = heap.meter;
  // A signal handler that has interrupted this.
  if (PA_UNLIKELY(meter.is_busy)) return heap_alloc(heap, size_class);
  MeterBusy busy(meter);
  if (PA_UNLIKELY(!is_wanted())) {
    if (lists_are_here(heap) && heap.target_count == 0) meter_stop(heap);
    return heap_alloc(heap, size_class);
  }
  if (PA_UNLIKELY(!meter.is_on)) meter_start(heap);
  if (size_class < kMeteredClasses) return metered_malloc(heap, size_class, size);
  const bool for_guard = is_sampled(meter, meter.mallocs, sample_mallocs, 1);
  const bool for_profile = is_sampled(meter, meter.bytes, sample_bytes, class_size(size_class));
  if (void* sample = take_sample(heap, size_class, size, for_guard, for_profile)) return sample;
  return heap_alloc(heap, size_class);
}

bool sample_counts(size_t bytes) {
  Heap* heap = thread_heap;
  if (!heap_is_usable(heap) || heap->meter.is_sampling || sample_bytes.interval.load_relaxed() == 0) return false;
  if (heap->meter.is_busy) return false;
  MeterBusy busy(heap->meter);
  if (!heap->meter.is_on) meter_start(*heap);
  return is_sampled(heap->meter, heap->meter.bytes, sample_bytes, bytes);
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
  heap.meter.mallocs.due = heap.meter.bytes.due = 0;
}

void meter_divert(Heap& heap) {
  LockGuard held(heap.gate->lock);
  if (!heap.meter.is_on) return lists_lead_here(heap);
  meter_return(heap);
}

void meter_undivert(Heap& heap) {
  // Where sampling has just been switched on, the next malloc is to come by.
  if (!heap.meter.is_on && !is_wanted()) small_lists_lead_to(heap, heap.active);
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
      if (!pool_has(*pool, block)) return false;
    }
  }
  return true;
}

}  // namespace poolalloc
