// Misuse of memory (misuse.h).
//
// Who may use it: through misuse.h.
#include "heap/misuse.h"

#include "chunk/extent_map.h"
#include "chunk/region.h"
#include "heap/guard.h"
#include "heap/heap.h"
#include "heap/holes.h"
#include "heap/remote.h"
#include "os/place.h"

namespace poolalloc {

constinit Atomic<MisusePolicy> misuse_policy{MisusePolicy::abort};
constinit Atomic<ForeignPolicy> foreign_policy{ForeignPolicy::warn};
__thread MisuseNote misuse_note;
constinit MisuseCounts misuse_counts{};

namespace {

// Reports under MisusePolicy::warn, at the most.
constexpr uint64_t kReportsMost = 100;

const char* name_of(Caller caller) {
  static constexpr const char* kNames[] = {"free()",          "free_sized()",      "free_aligned_sized()", "realloc()",
                                           "operator delete", "operator delete[]", "malloc_usable_size()"};
  return kNames[unsigned(caller)];
}

// After all that is to be said: how to go on.
[[noreturn]] void die(const char* option) {
  Message message;
  message.text("to go on after this, set ").text(option).send();
  os_abort();
}

void report_foreign(Caller caller, const void* p) {
  bool first = misuse_counts.foreign.add_relaxed(1) == 0;
  ForeignPolicy policy = foreign_policy.load_relaxed();
  if (policy == ForeignPolicy::ignore || (policy == ForeignPolicy::warn && !first)) return;
  Message message;
  message.text(name_of(caller)).text(": invalid pointer ").address(p);
  message.text(": not the start of a block of this allocator").send();
  if (policy != ForeignPolicy::abort) return;
  os_print_stack();
  die("POOLALLOC_FOREIGN=warn");
}

// --- What an address is ---------------------------------------------------------------------------------

// Each says what it knows of p, and whether it knows anything.

bool say_of_slice(Lines& message, const void* p) {
  if (!chunk_is_open(address_of(p))) return false;
  const BlockPool* pool = descriptor_of(p);
  if (address_of(p) - address_of(slice_address(pool)) >= slices_span(pool, 1))
    return message.text("in the library's own records"), true;
  // Behind the slices of a short region is what others have mapped.
  if ((chunk_of(p)->info.region->slices >> slice_index(pool) & 1) == 0) return false;
  pool = pool_of(p);
  if (pool->owner == nullptr) return message.text("in memory that is free (double free, or a wrong pointer)"), true;
  size_t block_size = class_size(pool->size_class);
  uintptr_t start = address_of(slice_address(pool));
  Quotient index = quotient_of(address_of(p) - start, pool->reciprocal);
  if (index.whole >= pool->size) return message.text("in memory that was never handed out"), true;
  return misuse_inside(message, pointer_to<void>(start + index.whole * block_size), block_size), true;
}

bool say_of_chunk(Lines& message, const void* p) {
  bool is_ours = regions_find([&](Region& region) {
    return region.base != nullptr && address_of(p) - address_of(region.base) < region_size(region);
  });
  if (is_ours) message.text("in memory that is free (double free, or a wrong pointer)");
  return is_ours;
}

bool say_of_extent(Lines& message, const void* p) {
  SharedLockGuard guard(extents_lock);
  const Extent* extent = extent_around(address_of(p));
  if (extent == nullptr) return false;
  if (extent->state != ExtentState::block)
    return message.text("free already, or never was in use (double free of a large block, or a wrong pointer)"), true;
  return misuse_inside(message, pointer_to<void>(extent->start.load_relaxed()), extent->block_size), true;
}

// What no allocator can have returned.
bool say_of_others(Lines& message, const void* p) {
  if (address_of(p) % alignof(void*) != 0) return message.text("no block: it is not aligned"), true;
  switch (os_place_of(p)) {
    case Place::unmapped:
      return message.text("no block: no memory is there"), true;
    case Place::stack:
      return message.text("no block: it is on this thread's stack"), true;
    case Place::program:
      return message.text("no block: it belongs to the program's code and variables"), true;
    case Place::unknown:
      break;
  }
  return false;
}

// --- Whether a block is free -------------------------------------------------------------------------------

// A list whose owner goes on is read as it is: a block that is in use is on none, whatever is seen of the others.
PA_RACY bool is_listed(const BlockPool& pool, Block* head, const Block* block) {
  bool found = false;
  if (head != nullptr) list_each(pool, slice_address(&pool), head, [&](const Block* each) { found |= each == block; });
  return found;
}

PA_RACY bool is_free(const BlockPool& pool, const Block* block) {
  const Heap* owner = pool.owner;
  if (owner == nullptr) return false;
  const PoolChain& chain = owner->chains[pool.size_class];
  bool is_metered =
      pool.size_class < kMeteredClasses && is_listed(pool, owner->meter.lists[pool.size_class].head, block);
  return is_metered || is_listed(pool, pool.list->head, block) ||
         (chain.active == &pool && is_listed(pool, chain.seized, block)) || remote_has(pool, block);
}

// The first one counts: what follows may come of it.
void note(const void* block, size_t size) {
  if (misuse_note.block == nullptr) misuse_note = {block, size};
}

}  // namespace

Lines& misuse_begin(Lines& message, Caller caller, const void* p) {
  return message.text(name_of(caller)).text(": ").address(p).text(" is ");
}

Lines& misuse_inside(Lines& message, const void* start, size_t size) {
  return message.text("inside a block of ").number(size).text(" bytes, which begins at ").address(start);
}

void misuse_free_already(Caller caller, const void* p, size_t size, const GuardView* guarded) {
  Message message;
  misuse_begin(message, caller, p).text("free already (");
  if (caller != Caller::usable_size) message.text("double free of ");
  message.text("a block of ").number(size).text(" bytes)");
  misuse_say(message, guarded);
}

void misuse_written_free(const void* p, size_t size) {
  Message message;
  message.address(p).text(" was written to after it was freed, or by an overflow of the block before it");
  if (size != 0) message.text(" (a free block of ").number(size).text(" bytes)");
  misuse_say(message);
}

void misuse_say(Lines& message, const GuardView* guarded) {
  uint64_t before = misuse_counts.certain.add_relaxed(1);
  MisusePolicy policy = misuse_policy.load_relaxed();
  if (policy == MisusePolicy::ignore || (policy == MisusePolicy::warn && before >= kReportsMost)) return;
  message.send();
  if (policy == MisusePolicy::abort || guarded != nullptr) os_print_stack();
  if (guarded != nullptr) guard_print_history(guarded->record);
  if (policy == MisusePolicy::abort) die("POOLALLOC_MISUSE=warn");
}

void misuse_pointer(Caller caller, const void* p) {
  // Nothing happens to what is merely asked about.
  if (caller == Caller::usable_size) return report_foreign(caller, p);
  Message message;
  misuse_begin(message, caller, p);
  if (say_of_slice(message, p) || say_of_chunk(message, p) || say_of_extent(message, p) || say_of_others(message, p))
    return misuse_say(message);
  report_foreign(caller, p);
}

bool misuse_is_double_free(Caller caller, BlockPool* pool, const Block* block) {
  // It may be on its way from one list to another.
  constexpr int kLooks = 3;
  bool found = false;
  for (int i = 0; i < kLooks && !found; i++) found = is_free(*pool, block);
  if (!found) return false;
  misuse_free_already(caller, block, class_size(pool->size_class));
  return true;
}

void misuse_guarded(Caller caller, const void* p, const GuardView& about) {
  if (caller == Caller::usable_size) return report_foreign(caller, p);
  const GuardRecord& record = about.record;
  if (about.state == GuardState::freed && record.address == address_of(p))
    return misuse_free_already(caller, p, record.size, &about);
  Message message;
  misuse_begin(message, caller, p);
  if (about.state == GuardState::unused) {
    message.text("no block: it is in memory that was never handed out");
  } else {
    guard_describe(message, address_of(p), record);
    if (about.state == GuardState::freed) message.text(", which is free");
  }
  misuse_say(message, &about);
}

void misuse_guarded_overrun(Caller caller, const void* p, uintptr_t where, const GuardView& about) {
  Message message;
  misuse_begin(message, caller, p).text("a block that was ").text(where < address_of(p) ? "underflowed" : "overflowed");
  misuse_say(guard_describe(message.text(": a write "), where, about.record), &about);
}

void pool_give_up(BlockPool* pool) {
  // The last block that can be reached is the one whose link is broken.
  const void* broken = slice_address(pool);
  list_each(*pool, slice_address(pool), pool->list->head, [&](const Block* each) { broken = each; });
  block_pool_give_up(*pool, pool_hidden(pool));
  note(broken, class_size(pool->size_class));
}

void links_give_up(const Block* block) { note(block, 0); }

void misuse_report_slow() {
  const MisuseNote noted = misuse_note;
  misuse_note = {nullptr, 0};
  misuse_written_free(noted.block, noted.size);
}

}  // namespace poolalloc
