// Large blocks: claiming, growing and releasing extents (extent.h).
//
// Always holds: extent.h's equations whenever extents_lock is released.
// Who may use it: through extent.h.
#include "base/bits.h"
#include "chunk/accounts.h"
#include "chunk/density.h"
#include "chunk/extent_map.h"
#include "chunk/extent_space.h"
#include "chunk/huge_pages.h"
#include "chunk/purge.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Blocks from this size on are moved by the kernel, which takes them a mapping of their own.
constexpr size_t kMoveLeast = size_t{4} << 20;
// And sparse ones from this size on.
constexpr size_t kMoveSparseLeast = size_t{128} << 10;
// A growing block is filled from front to back, so that one huge page at its end is filled in part: not more than an
// eighth of a block of this size.
constexpr size_t kGrownDense = 8 * kHugePageSize;
// What a block leaves that becomes smaller by so much is given back at once.
constexpr size_t kGivenBackLeast = size_t{1} << 20;
// Less clean memory of a block is not worth judging it.
constexpr size_t kJudgedLeast = size_t{256} << 10;
// Of a block's size, what may be lost at the end of a dirty extent because it is too little to be an extent.
constexpr size_t kLostShare = 16;

constinit Density density{};  // of blocks with memory that was clean
// Of blocks that were claimed for zeros. Until there are verdicts, two of them are taken to have been full: one that
// was says enough, because memory that does not go back costs no more than before.
constinit Density cleared_density{{0b11}, {0}};
// The block with clean memory that was claimed last, not judged yet; 0: none. Synchronization: atomic; they may not
// belong together, and the block may be gone, which judging survives.
PA_NOTE constinit Atomic<uintptr_t> watched_start{0};
constinit Atomic<size_t> watched_size{0};

// Synchronization: extents_lock.
constinit uint16_t moves = 0;  // so many, about; never 0 after the first

size_t whole_pages(size_t size) { return round_up(size, os_page_size()); }
size_t extent_size_for(size_t size) { return whole_pages(size > kExtentUnit ? size : kExtentUnit); }

// Clean memory that blocks have taken, and for which nothing has been given back in exchange.
constinit Atomic<size_t> clean_taken{0};

void in_use_add(int64_t size) {
  extent_space.totals.in_use += size;
  accounts.large.add_relaxed(size);
}

// Where a block may begin in a free extent; 0: it has no room.
uintptr_t place_in(const Extent* extent, size_t size, size_t alignment, size_t offset) {
  const uintptr_t start = extent_start(extent), end = extent_end(extent);
  uintptr_t place = round_up(start + offset, alignment) - offset;
  // What is left before it must be an extent.
  if (place != start && place - start < kExtentUnit) place = round_up(start + kExtentUnit + offset, alignment) - offset;
  if (place + size > end) return 0;
  size_t rest = end - place - size;
  bool is_lost = rest < kExtentUnit && extent->state == ExtentState::dirty;
  return is_lost && rest > size / kLostShare ? 0 : place;
}

// The smallest that fits, about.
Extent* find_fit(const ExtentBins& bins, size_t size, size_t alignment, size_t offset) {
  constexpr int kTries = 16;
  for (unsigned bin = bins.from(ExtentBins::index(size)); bin < ExtentBins::kCount; bin = bins.from(bin + 1)) {
    int tries = kTries;
    for (Extent* each = bins.first[bin]; each != nullptr && tries-- > 0; each = each->next) {
      if (place_in(each, size, alignment, offset) != 0) return each;
    }
  }
  return nullptr;
}

// A block that nobody has yet, where no extent is.
Extent* block_put(uintptr_t start, size_t size, ExtentKind kind, size_t fresh_size) {
  Extent* block = extent_put(start, size, kind);
  block->used_pages = 0;
  block->block_size = 0;
  block->fresh_size = fresh_size;
  block->is_cleared = false;
  block->holder = 0;
  block->note = 0;
  return block;
}

// Records that a claim needs, at the most, besides those of what it takes: the block's, and one more for what is left
// at either end; and one for new address space.
constexpr unsigned kCutMost = 4;

// What was cut out of a free extent.
struct Cut {
  size_t size;
  ExtentKind kind;
};

// Takes [place, place+size), or a little more, out of a free extent, for a block; what is left of it stays free.
Cut cut_out(Extent* from, uintptr_t place, size_t size) {
  const uintptr_t start = extent_start(from), end = extent_end(from);
  const ExtentKind kind = kind_of(from);
  size_t used_pages = from->used_pages;
  free_erase(from);
  if (end - place - size < kExtentUnit) size = end - place;
  // How many of so many bytes have been in use: any, as long as it is no more than all.
  auto share = [&](size_t part) {
    size_t pages = part / os_page_size();
    size_t used = pages < used_pages ? pages : used_pages;
    used_pages -= used;
    return used;
  };
  size_t used = share(size) * os_page_size();
  if (place != start) free_insert(start, place - start, kind, share(place - start));
  if (place + size != end) free_insert(place + size, end - place - size, kind, share(end - place - size));
  in_use_add(int64_t(size));
  if (kind.state == ExtentState::clean) clean_taken.add_relaxed(size);
  bool is_dirty = kind.state == ExtentState::dirty;
  account_claim(int64_t(size), is_dirty ? int64_t(size) : 0, int64_t(used), is_dirty ? 0 : int64_t(used));
  return {size, kind};
}

// The same, as a block that nobody has yet. At least kExtentUnit bytes.
Extent* carve(Extent* from, uintptr_t place, size_t size) {
  Cut cut = cut_out(from, place, size);
  size_t fresh_size = cut.kind.state == ExtentState::clean ? cut.size : 0;
  cut.kind.state = ExtentState::block;
  return block_put(place, cut.size, cut.kind, fresh_size);
}

// Notes what the block's user may use; 0: it goes.
void block_set_size(Extent* block, size_t block_size) {
  ExtentTotals& totals = extent_space.totals;
  totals.block_count += size_t{block_size != 0} - size_t{block->block_size != 0};
  totals.block_bytes += block_size - block->block_size;
  block->block_size = block_size;
}

// Huge pages, or none, for what is clean of a block.
void advise_fresh(Extent* block, bool is_dense) {
  if (block->fresh_size != 0) extent_advise(block, is_dense && accounts.in_use.load_relaxed() >= kHugeLargeFrom);
}

Extent* block_find(const void* p) {
  Extent* extent = extent_at(address_of(p));
  return extent != nullptr && extent->state == ExtentState::block ? extent : nullptr;
}

// Bytes that are free behind `end`, without a gap, in the given mapping; no more than are asked for.
size_t free_behind(uintptr_t end, uint16_t mapping, size_t wanted) {
  size_t found = 0;
  while (found < wanted) {
    const Extent* next = extent_at(end + found);
    if (next == nullptr || !extent_is_free(next) || next->mapping != mapping) break;
    found += next->size;
  }
  return found < wanted ? found : wanted;
}

// Adds `more` bytes behind a block to it, or a little more, which are free.
void block_extend(Extent* block, size_t more) {
  for (size_t taken = 0; taken < more;) {
    uintptr_t end = extent_end(block);
    Extent* next = extent_at(end);
    Cut cut = cut_out(next, end, next->size < more - taken ? next->size : more - taken);
    if (cut.kind.is_huge != block->is_huge) os_advise_huge(pointer_to<void>(end), cut.size, block->is_huge);
    if (cut.kind.state == ExtentState::clean) block->fresh_size += cut.size;
    extent_set_size(block, block->size + cut.size);
    taken += cut.size;
  }
}

// From a dirty extent and free ones beside it: where the most is dirty. nullptr: nowhere, or hardly anything.
Extent* block_claim_beside(size_t size) {
  constexpr int kTries = 16;
  int tries = kTries;
  Extent* from = nullptr;
  uintptr_t place = 0;
  size_t most = size / 8;
  extent_space.dirty.largest_first([&](Extent* dirty) {
    if (dirty->size <= most || tries-- == 0) return true;
    if (dirty->size >= size) return false;  // it has been tried
    size_t missing = size - dirty->size;
    missing -= free_behind(extent_end(dirty), dirty->mapping, missing);
    if (missing != 0 && missing < kExtentUnit) missing = kExtentUnit;
    Extent* before = extent_before(extent_start(dirty));
    bool has_before = before != nullptr && extent_is_free(before) && before->mapping == dirty->mapping &&
                      before->size >= missing + kExtentUnit;
    if (missing != 0 && !has_before) return false;
    from = missing != 0 ? before : dirty;
    place = extent_start(dirty) - missing;
    most = dirty->size;
    return false;
  });
  if (from == nullptr) return nullptr;
  size_t here = extent_end(from) - place;
  Extent* block = carve(from, place, here < size ? here : size);
  if (block->size < size) block_extend(block, size - block->size);
  return block;
}

// From what is free, or from new address space.
Extent* block_claim(size_t size, size_t alignment, size_t offset) {
  if (!extents_reserve(kCutMost)) return nullptr;
  Extent* from = find_fit(extent_space.dirty, size, alignment, offset);
  if (from == nullptr && alignment == os_page_size()) {
    Extent* block = block_claim_beside(size);
    if (block != nullptr) return block;
  }
  if (from == nullptr) from = find_fit(extent_space.clean, size, alignment, offset);
  if (from == nullptr) {
    from = offset == 0 ? space_add(size, alignment)
                       : space_add(round_up(size + alignment + kExtentUnit, os_page_size()), os_page_size());
  }
  uintptr_t place = from != nullptr ? place_in(from, size, alignment, offset) : 0;
  return place != 0 ? carve(from, place, size) : nullptr;
}

// The same for a block that grows: where there is as much room again behind it, in dirty memory; or in any dirty
// memory; or with room.
Extent* block_claim_growing(size_t size) {
  if (!extents_reserve(kCutMost)) return nullptr;
  Extent* from = extent_space.dirty.largest();
  if (from == nullptr || from->size < 2 * size) from = find_fit(extent_space.dirty, size, os_page_size(), 0);
  if (from == nullptr) {
    Extent* block = block_claim_beside(size);
    if (block != nullptr) return block;
  }
  if (from == nullptr) from = extent_space.clean.largest();
  if (from == nullptr || from->size < size) from = space_add(2 * size, os_page_size());
  return from != nullptr ? carve(from, extent_start(from), size) : nullptr;
}

// The block is about to go, or is not what it was.
void unwatch(const Extent* block) { watched_start.cas_acquire(extent_start(block), 0); }

// Claims, again after making room if the kernel refuses. `claim` is called with extents_lock held and says whether it
// has succeeded.
template <typename Claim>
bool claim_or_make_room(Claim claim) {
  for (bool may_make_room = true;; may_make_room = false) {
    {
      SharedLockGuard guard(extents_lock);
      if (claim()) return true;
    }
    if (!may_make_room || !room_make()) return false;
  }
}

}  // namespace

ExtentClaim extent_claim(size_t size, size_t alignment, bool cleared, size_t offset) {
  size_t extent_size = extent_size_for(size);
  if (alignment < os_page_size()) alignment = os_page_size();
  if (PA_UNLIKELY(!limit_allows(extent_size))) return {nullptr, false};
  if (uintptr_t last = watched_start.load_relaxed(); last != 0) {
    watched_start.store_relaxed(0);
    density.judge(pointer_to<void>(last), watched_size.load_relaxed(), BlockUse::may_be_used);
  }
  ExtentClaim claimed{nullptr, false};
  claim_or_make_room([&] {
    Extent* block = block_claim(extent_size, alignment, offset);
    if (block == nullptr) return false;
    block_set_size(block, whole_pages(size));
    block->is_cleared = cleared;
    if (!cleared && block->fresh_size >= kJudgedLeast) {
      watched_size.store_relaxed(block->block_size);
      watched_start.store_relaxed(extent_start(block));
    }
    advise_fresh(block, !cleared && density.is_dense());
    claimed = {pointer_to<void>(extent_start(block)), block->fresh_size == block->size};
    return true;
  });
  // Used memory is cleared by giving it back, unless such blocks are known to be filled: much of this one may never be
  // touched.
  bool gives_back = cleared && claimed.block != nullptr && !claimed.zeroed && !cleared_density.is_dense();
  if (gives_back) claimed.zeroed = may_purge() && os_purge(claimed.block, whole_pages(size));
  return claimed;
}

void* extent_claim_growing(size_t size, size_t filled) {
  size_t extent_size = extent_size_for(size);
  if (PA_UNLIKELY(!limit_allows(extent_size))) return nullptr;
  void* claimed = nullptr;
  claim_or_make_room([&] {
    Extent* block = block_claim_growing(extent_size);
    if (block == nullptr) return false;
    block_set_size(block, whole_pages(size));
    advise_fresh(block, filled >= kGrownDense);
    claimed = pointer_to<void>(extent_start(block));
    return true;
  });
  return claimed;
}

size_t extents_clean_taken(size_t least) {
  return clean_taken.load_relaxed() < least ? 0 : clean_taken.exchange_acquire(0);
}

// Without the lock: a pointer that is not ours need not wait for it.
static bool may_be_block(const void* p) {
  const ExtentUnit* unit = extent_unit(address_of(p));
  // Acquire: paired with the release in extent_put.
  const Extent* extent = unit != nullptr ? unit->starting.load_acquire() : nullptr;
  return extent != nullptr && extent_start(extent) == address_of(p);
}

// What the user of a block may use of it, and what it has.
struct BlockSizes {
  size_t block, extent;
};
static BlockSizes block_sizes(const void* p) {
  if (!may_be_block(p)) return {0, 0};
  SharedLockGuard guard(extents_lock);
  const Extent* block = block_find(p);
  return block != nullptr ? BlockSizes{block->block_size, block->size} : BlockSizes{0, 0};
}

size_t extent_block_size(const void* p) { return block_sizes(p).block; }

// Before a block is released, by whoever holds it, without the lock: what is judged may be slow, or another's by
// mistake.
static void block_judge(const void* p) {
  const Extent* block = extent_unit(address_of(p))->starting.load_relaxed();
  if (block == nullptr) return;
  if (block->is_cleared) {
    if (cleared_density.is_due()) cleared_density.judge(p, block->block_size, BlockUse::is_callers);
  } else if (block->fresh_size >= kJudgedLeast) {
    density.judge(p, block->block_size, BlockUse::is_callers);
  }
}

void extent_advise_dense(void* p) {
  SharedLockGuard guard(extents_lock);
  if (Extent* block = block_find(p); block != nullptr) advise_fresh(block, true);
}

size_t extent_release(void* p, bool is_new) {
  if (!may_be_block(p)) return 0;
  if (!is_new) block_judge(p);
  SharedLockGuard guard(extents_lock);
  Extent* block = block_find(p);
  if (block == nullptr) return 0;
  unwatch(block);
  size_t size = block->size;
  block_set_size(block, 0);
  extent_erase(block);
  in_use_add(-int64_t(size));
  account_release(int64_t(size));
  ExtentKind kind{ExtentState::dirty, block->is_huge, block->mapping};
  if (is_new) {
    account_purge(int64_t(size));
    kind.state = ExtentState::clean;
    kind.is_huge = space_advise(p, size);
  }
  free_insert(address_of(p), size, kind, size / os_page_size());
  return size;
}

// Whether the limit allows a block of `old_size` bytes to have `size`.
static bool growth_is_allowed(size_t old_size, size_t size) {
  return size <= old_size || limit_allows(size - old_size);
}

bool extent_resize(void* p, size_t size) {
  size_t wanted = extent_size_for(size);
  const BlockSizes old = block_sizes(p);
  if (!growth_is_allowed(old.extent, wanted)) return false;
  bool is_dense =
      wanted > old.extent && old.block >= kGrownDense && block_is_filled(p, old.block, BlockUse::is_callers);
  // Who makes a block smaller by much is not likely to need the rest soon.
  bool gives_back = old.extent >= wanted + kGivenBackLeast && may_purge() &&
                    os_purge(pointer_to<void>(address_of(p) + wanted), old.extent - wanted);
  SharedLockGuard guard(extents_lock);
  Extent* block = block_find(p);
  if (block == nullptr) return false;
  if (wanted > block->size) {
    size_t more = wanted - block->size;
    if (free_behind(extent_end(block), block->mapping, more) < more || !extents_reserve(kCutMost)) return false;
    block_extend(block, more);
    if (is_dense) extent_advise(block, true);
  } else if (block->size - wanted >= kExtentUnit && extents_reserve(1)) {
    size_t less = block->size - wanted;
    extent_set_size(block, wanted);
    if (block->fresh_size > wanted) block->fresh_size = wanted;
    in_use_add(-int64_t(less));
    account_release(int64_t(less));
    ExtentKind kind{ExtentState::dirty, block->is_huge, block->mapping};
    if (gives_back) {
      account_purge(int64_t(less));
      kind_cleaned(extent_end(block), less, &kind);
    }
    free_insert(extent_end(block), less, kind, less / os_page_size());
  }
  unwatch(block);
  block_set_size(block, whole_pages(size));
  return true;
}

void* extent_move(void* p, size_t size) {
  size_t wanted = extent_size_for(size);
  const auto [filled, old_extent] = block_sizes(p);
  if (filled < kMoveSparseLeast || wanted <= old_extent || !growth_is_allowed(old_extent, wanted)) return nullptr;
  // What is copied becomes resident.
  bool is_filled = block_is_filled(p, filled, BlockUse::is_callers);
  if (is_filled && filled < kMoveLeast) return nullptr;
  SharedLockGuard guard(extents_lock);
  Extent* block = block_find(p);
  if (block == nullptr || wanted <= block->size) return nullptr;
  const size_t old_size = block->size;
  ExtentKind kind = kind_of(block);
  // The room behind that an earlier move has left goes along: the block's last huge page may reach into it.
  Extent* behind = extent_at(extent_end(block));
  bool has_room = behind != nullptr && kind_of(behind) == ExtentKind{ExtentState::clean, kind.is_huge, kind.mapping};
  size_t old_span = old_size + (has_room && kind.mapping != 0 ? behind->size : 0);
  // With room to grow in place next time, unless address space is short; in whole huge pages, which move as such.
  size_t step = wanted >= kHugePageSize ? kHugePageSize : whole_pages(kExtentUnit);
  size_t span = extent_space.is_locked ? wanted : round_up(wanted + wanted / 4, step);
  if (!extent_map_reserve(span) || !extents_reserve(kCutMost)) return nullptr;
  // No block is where nothing is mapped any more, also to the child of a fork.
  const size_t block_size = block->block_size;
  block_set_size(block, 0);
  void* moved = os_move(p, old_span, span);
  if (moved == nullptr) moved = os_move(p, old_span = old_size, span = wanted);
  if (moved == nullptr) return block_set_size(block, block_size), nullptr;
  unwatch(block);
  extent_erase(block);
  if (old_span != old_size) {
    accounts.used_free.sub_relaxed(int64_t(extent_used_size(behind)));
    free_erase(behind);
  }
  PA_VERIFY(extent_map_cover(address_of(moved), span));
  kind.mapping = ++moves != 0 ? moves : ++moves;
  if (is_filled && filled >= kGrownDense && !kind.is_huge && huge_pages_wanted(true)) {
    os_advise_huge(moved, span, kind.is_huge = true);
  }
  block = block_put(address_of(moved), wanted, kind, 0);
  block_set_size(block, whole_pages(size));
  if (span != wanted)
    free_insert(extent_end(block), span - wanted, {ExtentState::clean, kind.is_huge, kind.mapping}, 0);
  in_use_add(int64_t(wanted - old_size));
  clean_taken.add_relaxed(wanted - old_size);
  account_claim(int64_t(wanted - old_size), 0, 0, 0);
  space_account(int64_t(span) - int64_t(old_span));
  return moved;
}

}  // namespace poolalloc
