// What nothing points to (leaks.h).
//
// Who may use it: through leaks.h.
#include "inspect/leaks.h"

#include "chunk/extent_map.h"
#include "chunk/region.h"
#include "heap/program_heap.h"
#include "inspect/growing.h"
#include "inspect/profile.h"
#include "os/place.h"
#include "os/scan.h"

namespace poolalloc {
namespace {

// A block of the profile.
struct Found {
  uintptr_t start, end;
  const ProfiledBlock* block;
  bool is_reachable;
};

// Addresses [start, end).
struct Range {
  uintptr_t start, end;
};
bool comes_before(const Range& a, const Range& b) { return a.start < b.start; }

class Search {
 public:
  // Before profile_lock is taken: what the library hands out from, and which of it is not in the profile.
  void gather_memory() {
    for (unsigned i = 0; i < kArrays; i++) handed_out_.add({0, 0});
    {
      SharedLockGuard guard(regions_lock);
      regions_find([&](Region& region) {
        if (region.base == nullptr) return false;
        handed_out_.add({address_of(region.base), address_of(region.base) + region_size(region)});
        notes_.add(address_of(&region.base));
        return false;
      });
      open_chunks_each([&](Chunk* chunk) {
        for (const BlockPool& slice : chunk->slices) add_pool(slice);
      });
    }
    SharedLockGuard guard(extents_lock);
    for (const Extent* extent = extent_from(0); extent != nullptr;) {
      const uintptr_t start = extent->start.load_relaxed(), end = start + extent->size;
      handed_out_.add({start, end});
      notes_.add(address_of(&extent->start));
      if (extent->state == ExtentState::block) add_extent(*extent);
      extent = extent_from(end);
    }
  }

  // With profile_lock.
  void gather_blocks() {
    profiled_blocks_each([&](const ProfiledBlock& block) {
      const size_t size = block.size != 0 ? block.size : 1;
      blocks_.add({block.address(), block.address() + size, &block, false});
    });
    // These arrays are no roots.
    if (!is_whole()) return;
    handed_out_.items[0] = range_of(blocks_);
    handed_out_.items[1] = range_of(unprofiled_);
    handed_out_.items[2] = range_of(handed_out_);
    heap_sort(blocks_.items, blocks_.count, [](const Found& a, const Found& b) { return a.start < b.start; });
    heap_sort(handed_out_.items, handed_out_.count, comes_before);
    heap_sort(notes_.items, notes_.count, [](uintptr_t a, uintptr_t b) { return a < b; });
    lowest_ = blocks_.count != 0 ? blocks_.items[0].start : 0;
    highest_ = blocks_.count != 0 ? blocks_.items[blocks_.count - 1].end : 0;
  }

  void scan_roots(const void* const* roots, size_t root_count, uintptr_t own_stack) {
    for (size_t i = 0; i < root_count; i++) look(address_of(roots[i]));
    stack_pointers_.add(own_stack);
    os_other_threads_visit(
        [](void* search, uintptr_t stack) {
          if (stack != 0) static_cast<Search*>(search)->stack_pointers_.add(stack);
        },
        this);
    os_mappings_visit(
        [](void* search, const Mapping& mapping) {
          static_cast<Search*>(search)->scan_mapping(mapping);
          return true;
        },
        this);
    // What is in a large unprofiled block may have gone meanwhile; then it cannot be read.
    for (size_t i = 0; i < unprofiled_.count; i++) scan(unprofiled_.items[i].start, unprofiled_.items[i].end);
  }

  void scan_reachable() {
    while (to_scan_.count != 0) {
      const Found& found = blocks_.items[to_scan_.items[--to_scan_.count]];
      const size_t size = found.end - found.start;
      if (size < os_page_size()) {
        // It is there: whoever frees it waits for profile_lock. And nobody can have protected it alone.
        scan_words(pointer_to<const uintptr_t>(found.start), size / sizeof(uintptr_t), found.start);
      } else {
        scan(found.start, found.end);
      }
    }
  }

  template <typename Visit>
  void lost_each(Visit visit) const {
    for (size_t i = 0; i < blocks_.count; i++) {
      if (!blocks_.items[i].is_reachable) visit(*blocks_.items[i].block);
    }
  }

  bool has_read() const { return can_read_; }
  bool is_whole() const {
    return handed_out_.is_whole && notes_.is_whole && unprofiled_.is_whole && blocks_.is_whole && to_scan_.is_whole &&
           stack_pointers_.is_whole;
  }

 private:
  static constexpr unsigned kArrays = 3;

  template <typename T>
  static Range range_of(const Growing<T>& array) {
    return {address_of(array.items), address_of(array.items) + array.mapped_size()};
  }

  static bool is_profiled(const ProgramHeap* heap) { return heap != nullptr && heap->is_own; }

  void add_pool(const BlockPool& pool) {
    const bool is_pool = pool.owner != nullptr && pool.slice_count != 0;
    if (!is_pool || is_profiled(program_of(&pool))) return;
    const uintptr_t start = address_of(slice_address(&pool));
    unprofiled_.add({start, start + pool.size * class_size(pool.size_class)});
  }
  void add_extent(const Extent& extent) {
    const auto* large = pointer_to<const ProgramLarge>(extent.holder);
    if (large != nullptr) notes_.add(address_of(&large->start));
    if (large != nullptr && is_profiled(large->heap)) return;
    const uintptr_t start = extent.start.load_relaxed();
    unprofiled_.add({start, start + extent.block_size});
  }

  // --- Roots -------------------------------------------------------------------------------------------------

  // All of a mapping but what the library hands out from, and what is below the stack pointer of a thread.
  void scan_mapping(const Mapping& mapping) {
    const bool is_guard = !mapping.is_readable && !mapping.is_writable;
    const Range before = guard_;
    guard_ = is_guard ? Range{mapping.start, mapping.end} : Range{0, 0};
    if (!mapping.is_readable || !mapping.is_writable) return;
    uintptr_t start = mapping.start;
    bool is_stack = false;
    for (size_t i = 0; i < stack_pointers_.count; i++) {
      const uintptr_t stack = stack_pointers_.items[i];
      if (stack < mapping.start || stack >= mapping.end) continue;
      // Some functions use a little below it.
      constexpr uintptr_t kRedZone = 128;
      if (!is_stack || stack - kRedZone < start) start = stack - kRedZone;
      is_stack = true;
    }
    // libc's record of the thread stands at the end, and leads to blocks of libc's.
    constexpr uintptr_t kThreadRecord = 3072;
    if (!is_stack && is_ended_stack(mapping, before)) start = mapping.end - kThreadRecord;
    if (start < mapping.start) start = mapping.start;
    // The parts between what is handed out from.
    for (size_t i = 0; i < handed_out_.count && start < mapping.end; i++) {
      const Range& range = handed_out_.items[i];
      if (range.end <= start) continue;
      if (range.start >= mapping.end) break;
      if (range.start > start) scan_root(start, range.start);
      start = range.end;
    }
    if (start < mapping.end) scan_root(start, mapping.end);
  }

  // The stack of a thread that has ended, which libc keeps for another one.
  static bool is_ended_stack(const Mapping& mapping, const Range& guard) {
    if (*mapping.name != 0 || guard.end != mapping.start || guard.start == 0) return false;
    const size_t usual = os_thread_stack_size(), size = mapping.end - mapping.start;
    return size == usual || size + (guard.end - guard.start) == usual;
  }

  // The pages that have memory.
  void scan_root(uintptr_t start, uintptr_t end) {
    const size_t page = os_page_size();
    for (uintptr_t at = round_down(start, page); at < end; at += 64 * page) {
      const unsigned count = end - at > 64 * page ? 64 : unsigned(divide_up(end - at, page));
      uint64_t present = pages_.from(at, count);
      if (count < 64) present &= (uint64_t{1} << count) - 1;
      while (present != 0) {
        const unsigned first = lowest_bit(present);
        const uint64_t rest = ~(present >> first);
        const unsigned length = rest != 0 ? lowest_bit(rest) : 64 - first;
        present &= length + first < 64 ? ~uint64_t{0} << (first + length) : 0;
        const uintptr_t from = at + first * page, until = from + length * page;
        scan(from > start ? from : start, until < end ? until : end);
      }
    }
  }

  // --- Words -------------------------------------------------------------------------------------------------

  void scan(uintptr_t start, uintptr_t end) {
    start = round_up(start, sizeof(uintptr_t));
    for (; start < end && end - start >= sizeof(uintptr_t); start += sizeof words_) {
      const size_t size = end - start < sizeof words_ ? round_down(end - start, sizeof(uintptr_t)) : sizeof words_;
      if (!os_memory_copy(words_, start, size)) continue;
      can_read_ = true;
      scan_words(words_, size / sizeof(uintptr_t), start);
    }
  }
  // So many words, which stand at an address.
  void scan_words(const uintptr_t* words, size_t count, uintptr_t address) {
    for (size_t i = 0; i < count; i++) {
      if (words[i] - lowest_ < highest_ - lowest_ && !is_note(address + i * sizeof(uintptr_t))) look(words[i]);
    }
  }

  // Whether the library keeps a word there that says where its own memory is.
  bool is_note(uintptr_t address) const {
    if (os_is_own_place(pointer_to<void>(address))) return true;
    size_t from = 0, until = notes_.count;
    while (from < until) {
      const size_t middle = (from + until) / 2;
      if (notes_.items[middle] == address) return true;
      (notes_.items[middle] < address ? from : until) = notes_.items[middle] < address ? middle + 1 : middle;
    }
    return false;
  }

  // The block that an address is in, if there is one, is reachable.
  void look(uintptr_t address) {
    size_t from = 0, until = blocks_.count;
    while (from < until) {
      const size_t middle = (from + until) / 2;
      (blocks_.items[middle].start <= address ? from : until) =
          blocks_.items[middle].start <= address ? middle + 1 : middle;
    }
    if (from == 0) return;
    Found& found = blocks_.items[from - 1];
    if (address >= found.end || found.is_reachable) return;
    found.is_reachable = true;
    to_scan_.add(from - 1);
  }

  Growing<Range> handed_out_, unprofiled_;
  Growing<uintptr_t> notes_, stack_pointers_;  // words that are no pointers of the program's
  Growing<Found> blocks_;
  Growing<size_t> to_scan_;  // blocks that are reachable, by their index
  PagesPresent pages_;
  Range guard_{0, 0};  // the inaccessible mapping that was visited last, if nothing is between
  uintptr_t lowest_ = 0, highest_ = 0;
  bool can_read_ = false;
  uintptr_t words_[512];
};

}  // namespace

bool leaks_find(const void* const* roots, size_t root_count) {
  // Registers that callers may still need are on the stack then.
  __builtin_unwind_init();
  SamplePause pause;
  Search search;
  search.gather_memory();
  ProfileHeld held;
  if (!held || profile.interval == 0) return false;
  search.gather_blocks();
  if (!search.is_whole()) return false;
  search.scan_roots(roots, root_count, address_of(__builtin_frame_address(0)));
  search.scan_reachable();
  if (!search.is_whole() || !search.has_read()) return false;
  for (ProfileStack* stack = profile.newest; stack != nullptr; stack = stack->older) stack->lost = {};
  search.lost_each([](const ProfiledBlock& block) {
    block.stack->lost.blocks += block.weight;
    block.stack->lost.bytes += block.weight * double(block.size);
  });
  profile.has_lost = true;
  return true;
}

}  // namespace poolalloc
