// The address space that extents share (extent_space.h), and what of it goes back to the kernel (extent.h).
//
// Always holds: an extent that is being purged or unmapped is on no record meanwhile, so that nobody finds it, claims
// it, or grows into it.
// Who may use it: through extent_space.h and extent.h.
#include "chunk/extent_space.h"

#include <string.h>

#include "base/probe.h"
#include "chunk/accounts.h"
#include "chunk/extent_map.h"
#include "chunk/huge_pages.h"
#include "chunk/os_source.h"
#include "os/os.h"

namespace poolalloc {

constinit Lock extents_lock{{0}, LockRank::extents};
constinit ExtentSpace extent_space{};

namespace {

// Address space that is mapped at a time: a quarter of what there is, between these.
constexpr size_t kGrowthLeast = size_t{512} << 10;
constexpr size_t kGrowthMost = size_t{256} << 20;
// Clean free address space that is kept: as much as is in use, and at least so much. What is unmapped is not known to
// have been needed before, when it comes again. Where address space is limited, others need it more.
constexpr int64_t kCleanKept = int64_t{256} << 20;
constinit bool is_limited = false;
// The least that is worth a system call that unmaps or purges it, if there is more.
constexpr size_t kUnmapLeast = size_t{4} << 20;
constexpr size_t kPurgeLeast = size_t{256} << 10;

ExtentBins& bins_of(ExtentState state) { return state == ExtentState::dirty ? extent_space.dirty : extent_space.clean; }

// Where records live, and those that describe nothing, linked by `next`. Synchronization: extents_lock.
PA_NOTE constinit Pool record_memory = pool_without_buffer(kOsSourceCapacity);
constinit Extent* spare_records = nullptr;
constinit unsigned spare_count = 0;
constinit unsigned promised_count = 0;  // so many of them are for what purges will put back

void spare_add(Extent* record) {
  record->next = spare_records;
  spare_records = record;
  spare_count++;
}

void free_count(const Extent* extent, int64_t sign) {
  ExtentTotals& totals = extent_space.totals;
  int64_t& counted = extent->state == ExtentState::dirty ? totals.dirty_free : totals.clean_free;
  __atomic_store_n(&counted, counted + sign * int64_t(extent->size), __ATOMIC_RELAXED);
  totals.used_free += sign * int64_t(extent_used_size(extent));
}

}  // namespace

// --- Records ----------------------------------------------------------------------------------------

Extent* extent_at(uintptr_t start) {
  const ExtentUnit* unit = extent_unit(start);
  Extent* extent = unit != nullptr ? unit->starting.load_relaxed() : nullptr;
  return extent != nullptr && extent_start(extent) == start ? extent : nullptr;
}

Extent* extent_before(uintptr_t end) {
  const ExtentUnit* unit = extent_unit(end - 1);
  Extent* extent = unit != nullptr ? unit->ending : nullptr;
  return extent != nullptr && extent_end(extent) == end ? extent : nullptr;
}

bool extents_reserve(unsigned count) {
  while (spare_count < count + promised_count) {
    Extent* record = static_cast<Extent*>(pool_alloc(record_memory, sizeof(Extent), kCacheLine, kOsSource));
    if (record == nullptr) return false;
    spare_add(record);
  }
  return true;
}

Extent* extent_put(uintptr_t start, size_t size, ExtentKind kind) {
  PA_ASSERT(size >= kExtentUnit && spare_records != nullptr);
  Extent* extent = spare_records;
  spare_records = extent->next;
  spare_count--;
  extent->size = size;
  extent->state = kind.state;
  extent->is_huge = kind.is_huge;
  extent_space.huge_count += kind.is_huge;
  extent->mapping = kind.mapping;
  extent->start.store_relaxed(start);
  // Release: whoever finds the record without the lock finds its start.
  extent_unit(start)->starting.store_release(extent);
  extent_unit(start + size - 1)->ending = extent;
  return extent;
}

void extent_erase(Extent* extent) {
  extent_space.huge_count -= extent->is_huge;
  extent_unit(extent_end(extent) - 1)->ending = nullptr;
  extent_unit(extent_start(extent))->starting.store_relaxed(nullptr);
  extent->start.store_relaxed(0);
  spare_add(extent);
}

void extent_set_size(Extent* block, size_t size) {
  extent_unit(extent_end(block) - 1)->ending = nullptr;
  block->size = size;
  extent_unit(extent_end(block) - 1)->ending = block;
}

void extent_set_huge(Extent* extent, bool is_huge) {
  extent_space.huge_count += unsigned{is_huge} - unsigned{extent->is_huge};
  extent->is_huge = is_huge;
}

// Each stretch of memory with advice of its own is a mapping of its own: there are not many.
static bool advice_is_cheap(const Extent* block) {
  constexpr unsigned kStretchesMost = 1000;
  const Extent* before = extent_before(extent_start(block));
  bool joins = before != nullptr && before->is_huge && before->mapping == block->mapping;
  return block->size >= kHugePageSize && (joins || extent_space.huge_count < kStretchesMost);
}

void extent_advise(Extent* block, bool wanted) {
  if (block->is_huge == wanted || huge_pages.load_relaxed() != HugePages::adaptive) return;
  if (wanted && !advice_is_cheap(block)) return;
  os_advise_huge(pointer_to<void>(extent_start(block)), block->size, wanted);
  extent_set_huge(block, wanted);
}

void kind_cleaned(uintptr_t start, size_t size, ExtentKind* kind) {
  kind->state = ExtentState::clean;
  if (!kind->is_huge || huge_pages.load_relaxed() != HugePages::adaptive) return;
  os_advise_huge(pointer_to<void>(start), size, false);
  kind->is_huge = false;
}

// --- Free extents -------------------------------------------------------------------------------------

void free_erase(Extent* extent) {
  free_count(extent, -1);
  bins_of(extent->state).remove(extent);
  if (extent->state == ExtentState::dirty) extent_space.queue.remove(extent);
  extent_erase(extent);
}

Extent* free_insert(uintptr_t start, size_t size, ExtentKind kind, size_t used_pages) {
  Extent* before = extent_before(start);
  if (before != nullptr && kind_of(before) == kind) {
    used_pages += before->used_pages;
    start = extent_start(before);
    size += before->size;
    free_erase(before);
  }
  Extent* after = extent_at(start + size);
  if (after != nullptr && kind_of(after) == kind) {
    used_pages += after->used_pages;
    size += after->size;
    free_erase(after);
  }
  Extent* extent = extent_put(start, size, kind);
  extent->used_pages = uint32_t(used_pages);
  free_count(extent, 1);
  bins_of(kind.state).add(extent);
  if (kind.state == ExtentState::dirty) extent_space.queue.add(extent);
  return extent;
}

// --- Address space ------------------------------------------------------------------------------------

void space_account(int64_t size) {
  extent_space.mapped_size += size_t(size);
  accounts.mapped.add_relaxed(size);
}

bool space_advise(void* start, size_t size) {
  HugePages mode = huge_pages.load_relaxed();
  if (mode != HugePages::adaptive) os_advise_huge(start, size, mode == HugePages::always);
  return mode == HugePages::always;
}

Extent* space_add(size_t size, size_t alignment) {
  size_t growth = extent_space.mapped_size / 4;
  growth = growth < kGrowthLeast ? kGrowthLeast : growth < kGrowthMost ? growth : kGrowthMost;
  size_t step = growth >= kHugePageSize || size >= kHugePageSize ? kHugePageSize : kSliceSize;
  // Exactly what is asked for, if it is more, so that it fits where such a block was before.
  size_t wanted = extent_space.is_locked || size > growth ? size : round_up(growth, step);
  void* space = os_map(wanted, alignment > step ? alignment : step);
  // Halve on refusal, down to what is needed: limits on address space are met, not exceeded.
  while (space == nullptr && wanted > size) {
    wanted = wanted / 2 > size ? round_up(wanted / 2, kSliceSize) : size;
    space = os_map(wanted, alignment);
  }
  if (space == nullptr) return nullptr;
  extent_space.is_locked = os_is_locked(space, os_page_size());
  if (extent_space.is_locked && wanted > size && os_unmap(byte_offset(space, size), wanted - size)) wanted = size;
  uintptr_t start = address_of(space);
  if (!extent_map_cover(start, wanted)) {
    os_discard(space, wanted);
    return nullptr;
  }
  PA_PROBE2(extents_map, start, wanted);
  os_name(space, wanted, kExtentsName);
  space_account(int64_t(wanted));
  return free_insert(start, wanted, {ExtentState::clean, space_advise(space, wanted), 0}, 0);
}

void extents_name() {
  SharedLockGuard guard(extents_lock);
  for (const Extent* each = extent_from(0); each != nullptr; each = extent_from(extent_end(each)))
    os_name(pointer_to<void>(extent_start(each)), each->size, kExtentsName);
}

// --- The equations -----------------------------------------------------------------------------------------

bool extents_are_valid() {
  ExtentTotals found{};
  size_t binned = 0, free_count = 0, dirty_count = 0, queued = 0;
  const Extent* before = nullptr;
  for (const Extent* each = extent_from(0); each != nullptr; before = each, each = extent_from(extent_end(each))) {
    size_t page = os_page_size();
    if (each->size < kExtentUnit || extent_start(each) % page != 0 || each->size % page != 0) return false;
    if (extent_at(extent_start(each)) != each || extent_before(extent_end(each)) != each) return false;
    bool touches = before != nullptr && extent_end(before) == extent_start(each);
    if (before != nullptr && extent_end(before) > extent_start(each)) return false;
    if (touches && extent_is_free(each) && kind_of(before) == kind_of(each)) return false;
    if (each->state == ExtentState::block) {
      if (each->block_size == 0 || each->block_size > each->size || each->fresh_size > each->size) return false;
      found.in_use += int64_t(each->size);
      found.block_count++;
      found.block_bytes += each->block_size;
    } else {
      if (extent_used_size(each) > each->size) return false;
      (each->state == ExtentState::dirty ? found.dirty_free : found.clean_free) += int64_t(each->size);
      found.used_free += int64_t(extent_used_size(each));
      free_count++;
      dirty_count += each->state == ExtentState::dirty;
    }
  }
  const ExtentBins* const kinds[] = {&extent_space.clean, &extent_space.dirty};
  for (const ExtentBins* bins : kinds) {
    for (unsigned bin = bins->from(0); bin < ExtentBins::kCount; bin = bins->from(bin + 1)) {
      for (const Extent* each = bins->first[bin]; each != nullptr; each = each->next, binned++) {
        if (ExtentBins::index(each->size) != bin || &bins_of(each->state) != bins) return false;
      }
    }
  }
  for (const Extent* each = extent_space.queue.oldest; each != nullptr; each = each->newer) queued++;
  return binned == free_count && queued == dirty_count && memcmp(&found, &extent_space.totals, sizeof found) == 0;
}

// --- Giving memory back ---------------------------------------------------------------------------------

const ExtentTotals& extent_totals() { return extent_space.totals; }

namespace {

// A free extent, or a part of one, that this thread has taken off the records.
struct TakenExtent {
  uintptr_t start;
  size_t size;
  size_t used_pages;
  ExtentKind kind;
};

TakenExtent take(Extent* extent) {
  TakenExtent taken{extent_start(extent), extent->size, extent->used_pages, kind_of(extent)};
  free_erase(extent);
  return taken;
}

void put_back(const TakenExtent& taken) { free_insert(taken.start, taken.size, taken.kind, taken.used_pages); }

bool unmap(const TakenExtent& taken) { return os_unmap(pointer_to<void>(taken.start), taken.size); }

void account_unmapped(const TakenExtent& taken) {
  extent_space.mapped_size -= taken.size;
  account_unmap(int64_t(taken.size), taken.kind.state == ExtentState::dirty ? int64_t(taken.size) : 0,
                int64_t(taken.used_pages * os_page_size()));
}

// Whether it could unmap any.
bool unmap_all(ExtentBins& bins) {
  bool any = false;
  for (unsigned bin = bins.from(0); bin < ExtentBins::kCount; bin = bins.from(bin + 1)) {
    // What cannot be unmapped comes back in front, and is not looked at again.
    for (Extent *each = bins.first[bin], *next; each != nullptr; each = next) {
      next = each->next;
      TakenExtent taken = take(each);
      if (unmap(taken)) {
        account_unmapped(taken);
        any = true;
      } else {
        put_back(taken);
      }
    }
  }
  return any;
}

// Whether there is clean address space enough without an extent of that size.
bool is_spare(size_t size) {
  int64_t kept = is_limited ? 0 : higher(accounts.in_use.load_relaxed(), kCleanKept);
  return size >= kUnmapLeast && extent_space.totals.clean_free + int64_t(size) > kept;
}

// The oldest dirty extent; of one that is much larger than `excess`, and stays mapped, its end.
TakenExtent take_oldest(size_t excess) {
  TakenExtent taken = take(extent_space.queue.oldest);
  size_t size = round_up(excess > kPurgeLeast ? excess : kPurgeLeast, kHugePageSize);
  if (is_spare(taken.size) || taken.size < size + kHugePageSize || !extents_reserve(2)) return taken;
  TakenExtent kept = taken;
  kept.size = taken.size - size;
  kept.used_pages = kept.size / os_page_size();
  taken.start += kept.size;
  taken.size = size;
  taken.used_pages = size / os_page_size();
  put_back(kept);
  return taken;
}

}  // namespace

void extents_note_limit() { is_limited = true; }
bool extents_space_is_limited() { return is_limited; }

size_t extents_purge(size_t excess, bool* refused) {
  TakenExtent taken;
  bool is_unmapped;
  {
    SharedLockGuard guard(extents_lock);
    if (extent_space.queue.oldest == nullptr) return 0;
    taken = take_oldest(excess);
    is_unmapped = is_spare(taken.size);
    promised_count++;
  }
  is_unmapped = is_unmapped && unmap(taken);
  bool is_purged = is_unmapped || os_purge(pointer_to<void>(taken.start), taken.size);
  if (is_purged && !is_unmapped) kind_cleaned(taken.start, taken.size, &taken.kind);
  if (!is_purged) *refused = true;
  SharedLockGuard guard(extents_lock);
  promised_count--;
  if (is_unmapped) {
    account_unmapped(taken);
  } else {
    if (is_purged) account_purge(int64_t(taken.size));
    put_back(taken);
    PA_CHECK(extents_are_valid());
  }
  return is_purged ? taken.size : 0;
}

size_t extents_dirty_size() { return size_t(__atomic_load_n(&extent_space.totals.dirty_free, __ATOMIC_RELAXED)); }

void extents_salvage() {
  extent_space.clean = extent_space.dirty = ExtentBins{};
  extent_space.queue = DirtyQueue{};
  extent_space.huge_count = 0;
  spare_records = nullptr;
  spare_count = promised_count = 0;
  extent_map_forget_spares();
  ExtentTotals found{};
  for (Extent* each = extent_from(0); each != nullptr; each = extent_from(extent_start(each) + kExtentUnit)) {
    ExtentUnit &first = *extent_unit(extent_start(each)), &last = *extent_unit(extent_end(each) - 1);
    // A block of no size is on its way to be one, or to go.
    if (each->state != ExtentState::block || each->block_size == 0 || each->block_size > each->size) {
      first.starting.store_relaxed(nullptr);
      if (last.ending == each) last.ending = nullptr;
      continue;
    }
    if (each->fresh_size > each->size) each->fresh_size = 0;
    last.ending = each;
    found.in_use += int64_t(each->size);
    found.block_count++;
    found.block_bytes += each->block_size;
    extent_space.huge_count += each->is_huge;
  }
  extent_space.totals = found;
}

bool extents_unmap() {
  SharedLockGuard guard(extents_lock);
  bool any_dirty = unmap_all(extent_space.dirty);
  return unmap_all(extent_space.clean) || any_dirty;
}

}  // namespace poolalloc
