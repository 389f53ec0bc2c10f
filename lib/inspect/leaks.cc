// What nothing points to (leaks.h).
//
// Who may use it: through leaks.h.
#include "inspect/leaks.h"

#include "chunk/extent_map.h"
#include "chunk/region.h"
#include "heap/find.h"
#include "heap/program_heap.h"
#include "inspect/growing.h"
#include "inspect/profile.h"
#include "os/mapped.h"
#include "os/place.h"
#include "os/scan.h"

// Where variables that are PA_NOTE begin and end: the linker's symbols.
extern "C" {
__attribute__((visibility("hidden"))) extern const char __start_poolalloc_notes[];
__attribute__((visibility("hidden"))) extern const char __stop_poolalloc_notes[];
}

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

// In memory of its own: it is large for a stack.
class Search {
 public:
  // Before profile_lock is taken: what the library hands out from, and which of it is not in the profile.
  void gather_memory() {
    for (unsigned i = 0; i < kArrays; i++) handed_out_.add({0, 0});
    handed_out_.add({address_of(&chunk_tags), address_of(&chunk_tags + 1)});
    handed_out_.add({address_of(__start_poolalloc_notes), address_of(__stop_poolalloc_notes)});
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
      blocks_.add({block.address(), block.address() + usable_size(block), &block, false});
    });
    // These arrays are no roots.
    if (!is_whole()) return;
    handed_out_.items[0] = range_of(blocks_);
    handed_out_.items[1] = range_of(unprofiled_);
    handed_out_.items[2] = range_of(handed_out_);
    handed_out_.items[3] = {address_of(this), address_of(this + 1)};
    heap_sort(blocks_.items, blocks_.count, [](const Found& a, const Found& b) { return a.start < b.start; });
    heap_sort(handed_out_.items, handed_out_.count, [](const Range& a, const Range& b) { return a.start < b.start; });
    heap_sort(notes_.items, notes_.count, [](uintptr_t a, uintptr_t b) { return a < b; });
    lowest_ = blocks_.count != 0 ? blocks_.items[0].start : 0;
    highest_ = blocks_.count != 0 ? blocks_.items[blocks_.count - 1].end : 0;
  }

  // False: the list of mappings cannot be read.
  bool scan_roots(const void* const* roots, size_t root_count, uintptr_t own_stack) {
    for (size_t i = 0; i < root_count; i++) look(address_of(roots[i]));
    // A heap of the program's is what its blocks are reached by.
    for (size_t i = 0; i < blocks_.count; i++) {
      if (blocks_.items[i].block->heap != nullptr) reach(i);
    }
    stack_pointers_.add(own_stack);
    os_other_threads_visit(
        [](void* search, uintptr_t stack) {
          if (stack != 0) static_cast<Search*>(search)->stack_pointers_.add(stack);
        },
        this);
    // What is in an unprofiled block may have gone meanwhile; then it cannot be read.
    for (size_t i = 0; i < unprofiled_.count; i++) scan_pages(unprofiled_.items[i].start, unprofiled_.items[i].end);
    return os_mappings_visit(
        [](void* search, const Mapping& mapping) {
          static_cast<Search*>(search)->scan_mapping(mapping);
          return true;
        },
        this);
  }

  void scan_reachable() {
    while (to_scan_.count != 0) {
      const Found& found = blocks_.items[to_scan_.items[--to_scan_.count]];
      const size_t size = found.end - found.start;
      if (size < os_page_size()) {
        // It is there: whoever frees it waits for profile_lock. And nobody can have protected it alone.
        scan_words(pointer_to<const uintptr_t>(found.start), size / sizeof(uintptr_t), found.start);
      } else {
        scan_pages(found.start, found.end);
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
  static constexpr unsigned kArrays = 4;

  template <typename T>
  static Range range_of(const Growing<T>& array) {
    return {address_of(array.items), address_of(array.items) + array.mapped_size()};
  }

  static bool is_profiled(const ProgramHeap* heap) { return heap != nullptr && heap->is_own; }

  // Other threads may release it meanwhile, and make it anew.
  PA_RACY void add_pool(const BlockPool& pool) {
    const Heap* owner = *const_cast<Heap* const volatile*>(&pool.owner);
    if (owner == nullptr || is_profiled(owner->program) || pool.size_class >= kClassCount) return;
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

  // Bytes of a block that its user may use.
  static size_t usable_size(const ProfiledBlock& block) {
    const BlockPool* pool = pool_find(pointer_to<void>(block.address()));
    return pool != nullptr ? class_size(pool->size_class) : round_up(block.size, os_page_size());
  }

  // All of a mapping but what the library hands out from, and what is below the stack pointer of a thread.
  void scan_mapping(const Mapping& mapping) {
    const bool has_guard = guard_end_ == mapping.start;
    guard_end_ = !mapping.is_readable && !mapping.is_writable ? mapping.end : 0;
    // What was made read-only may have been filled before.
    const bool is_anonymous = *mapping.name == 0 && !mapping.is_executable;
    if (!mapping.is_readable || !(mapping.is_writable || is_anonymous)) return;
    uintptr_t start = mapping.start;
    // Else it has other things beside a stack.
    if (strcmp(mapping.name, "[stack]") == 0 || (is_anonymous && has_guard)) start = stack_start(mapping);
    // The parts between what is handed out from. Mappings are in order.
    for (; start < mapping.end; start = handed_out_.items[passed_].end) {
      while (passed_ < handed_out_.count && handed_out_.items[passed_].end <= start) passed_++;
      const bool is_last = passed_ == handed_out_.count || handed_out_.items[passed_].start >= mapping.end;
      const uintptr_t end = is_last ? mapping.end : handed_out_.items[passed_].start;
      if (start < end) scan_pages(start, end);
      if (is_last) return;
    }
  }

  // Where a stack is in use from; in a mapping that is none, its start.
  uintptr_t stack_start(const Mapping& mapping) const {
    uintptr_t start = mapping.end;
    for (size_t i = 0; i < stack_pointers_.count; i++) {
      const uintptr_t stack = stack_pointers_.items[i];
      // Some functions use a little below it.
      constexpr uintptr_t kRedZone = 128;
      if (stack >= mapping.start && stack < start) start = stack - kRedZone;
    }
    if (start != mapping.end) return start > mapping.start ? start : mapping.start;
    // libc's record of the thread leads to blocks of libc's.
    return os_is_ended_stack(mapping.start, mapping.end) ? mapping.end - kThreadRecordMost : mapping.start;
  }

  // The pages that have memory.
  void scan_pages(uintptr_t start, uintptr_t end) {
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
    if (is_apart_ && os_is_own_place(pointer_to<void>(address))) return true;
    const size_t below =
        partition_point(notes_.items, notes_.count, [address](uintptr_t note) { return note < address; });
    return below < notes_.count && notes_.items[below] == address;
  }

  // The block that an address is in, if there is one, is reachable.
  void look(uintptr_t address) {
    const size_t started =
        partition_point(blocks_.items, blocks_.count, [address](const Found& block) { return block.start <= address; });
    if (started != 0 && address < blocks_.items[started - 1].end) reach(started - 1);
  }
  void reach(size_t index) {
    if (blocks_.items[index].is_reachable) return;
    blocks_.items[index].is_reachable = true;
    to_scan_.add(index);
  }

  Growing<Range> handed_out_, unprofiled_;
  Growing<uintptr_t> notes_, stack_pointers_;  // words that are no pointers of the program's
  Growing<Found> blocks_;
  Growing<size_t> to_scan_;  // blocks that are reachable, by their index
  PagesPresent pages_;
  const bool is_apart_ = os_library_is_apart();
  uintptr_t guard_end_ = 0;  // of the mapping that was visited last, if that is inaccessible
  size_t passed_ = 0;        // of what is handed out from, below the mapping that is visited
  uintptr_t lowest_ = 0, highest_ = 0;
  bool can_read_ = false;
  uintptr_t words_[512];
};

}  // namespace

bool leaks_find(const void* const* roots, size_t root_count) {
  // Registers that callers may still need are on the stack then.
  __builtin_unwind_init();
  SamplePause pause;
  Mapped<Search> search;
  if (!search) return false;
  search->gather_memory();
  ProfileHeld held;
  if (!held || profile.interval == 0) return false;
  search->gather_blocks();
  if (!search->is_whole()) return false;
  if (!search->scan_roots(roots, root_count, address_of(__builtin_frame_address(0)))) return false;
  search->scan_reachable();
  if (!search->is_whole() || !search->has_read()) return false;
  for (ProfileStack* stack = profile.newest; stack != nullptr; stack = stack->older) stack->lost = {};
  search->lost_each([](const ProfiledBlock& block) {
    block.stack->lost.blocks += block.weight;
    block.stack->lost.bytes += block.weight * double(block.size);
  });
  profile.has_lost = true;
  return true;
}

}  // namespace poolalloc
