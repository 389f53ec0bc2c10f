// Large blocks of the hardened library (large_blocks.h).
//
// Who may use it: through large_blocks.h.
#include "hardened/large_blocks.h"

#include "chunk/density.h"
#include "chunk/extent.h"
#include "chunk/huge_pages.h"
#include "hardened/canary.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/program_heap.h"
#include "heap/usage.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Freed blocks that keep their addresses, at the most; and how much of these.
constexpr unsigned kKeptMost = 256;
constexpr int64_t kKeptSize = int64_t{1} << 30;
// Where address space is limited, a part of it: the program may need it for mappings of its own.
int64_t kept_most() {
  static constinit Atomic<int64_t> most{0};
  int64_t found = most.load_relaxed();
  if (PA_LIKELY(found != 0)) return found;
  const size_t share = os_memory_limit() / 16;
  found = share < size_t(kKeptSize) ? int64_t(share) + 1 : kKeptSize;
  most.store_relaxed(found);
  return found;
}

// The starts of their extents; 0: none. How much there is of them is in usage_kept.
constinit Atomic<uintptr_t> kept[kKeptMost]{};
constinit Atomic<uint32_t> kept_next{0};

// Whether the last ones of two MiB and more were filled: those that are made next have huge pages then.
constinit Density density{};

// Blocks; so many have guards: each may be three mappings to the kernel, which has not many.
constexpr int64_t kGuardedMost = 8000;
constinit Atomic<int64_t> block_count{0};

// How often realloc has made a block larger. From the second time on there is room behind it, and it grows where it is:
// or small steps would take a time that grows with the square of their number.
constexpr unsigned kHasRoom = 2;

// The parts of a block's extent: a page before the block, its own pages, and inaccessible ones behind it.
struct Layout {
  size_t front, whole, behind;
  size_t size() const { return front + whole + behind; }
};
Layout layout_of(size_t size, unsigned grown) {
  const size_t page = os_page_size(), room = grown == kHasRoom ? round_up(size / 2, page) : 0;
  return {page, round_up(size, page), room + page};
}

char* start_of(const void* p) { return static_cast<char*>(extent_start_around(p)); }

// A note, which nobody can write to but this library: the record, and how often the block has grown.
uint64_t note_pack(Record record, unsigned grown) {
  return record.size << 16 | grown << 4 | unsigned(record.state) << 2 | unsigned(record.maker);
}
unsigned note_grown(uint64_t note) { return note >> 4 & 3; }
// State broken: no block starts `before` bytes behind the extent's start.
Record note_unpack(uint64_t note, size_t before) {
  if (note == 0 || before != os_page_size()) return {RecordState::broken, Maker::malloc, 0};
  return {RecordState(note >> 2 & 3), Maker(note & 3), note >> 16};
}

// Bytes of an extent that are not its block's own pages.
int64_t around(const char* start, const Record& record) {
  return int64_t(extent_block_size(start) - round_up(record.size, os_page_size()));
}

// Lets a freed block's addresses go.
void let_go(uintptr_t start) {
  char* extent = pointer_to<char>(start);
  const size_t size = extent_block_size(extent);
  usage_kept.add_large(-1, size);
  block_count.sub_relaxed(1);
  // What the kernel does not give back is lost.
  if (!os_protect(extent, size, true)) return;
  if (size_t released = extent_release(extent, true); released != 0) heap_slow_path_end(released);
}

// Puts a start, or none, into the next place. Who takes one out owns it.
uintptr_t kept_exchange(uintptr_t start) { return kept[kept_next.add_relaxed(1) % kKeptMost].exchange_acquire(start); }

void keep(char* start, size_t size) {
  usage_kept.add_large(1, size);
  if (uintptr_t before = kept_exchange(address_of(start)); before != 0) let_go(before);
}

// Lets go of what is kept, until there is less; whether there was any.
bool kept_shrink(int64_t most) {
  bool any = false;
  for (unsigned i = 0; i < kKeptMost && usage_kept.large_bytes.load_relaxed() > most; i++) {
    uintptr_t start = kept_exchange(0);
    if (start != 0) let_go(start);
    any |= start != 0;
  }
  return any;
}

void* block_make(size_t size, size_t alignment, Maker maker, unsigned grown) {
  if (!large_is_possible(size, alignment)) return nullptr;
  const Layout layout = layout_of(size, grown);
  const size_t all = layout.size();
  ExtentClaim claim = large_claim(all, alignment, true, layout.front);
  if (claim.block == nullptr && program_allows(all) && kept_shrink(0))
    claim = large_claim(all, alignment, true, layout.front);
  if (claim.block == nullptr) return nullptr;
  char *start = static_cast<char*>(claim.block), *p = start + layout.front;
  if (!claim.zeroed) memset(p, 0, layout.whole);
  if (size >= kHugePageSize && density.is_dense()) extent_advise_dense(start);
  if (block_count.add_relaxed(1) < kGuardedMost) os_protect(start, layout.front, false);
  if (grown == kHasRoom) {
    os_hide(p + layout.whole, layout.behind);
  } else if (block_count.load_relaxed() <= kGuardedMost) {
    os_protect(p + layout.whole, layout.behind, false);
  }
  canary_set(p + size, p + layout.whole);
  const Record record{RecordState::live, maker, size};
  extent_set_note(start, note_pack(record, grown));
  usage_kept.large_around.add_relaxed(around(start, record));
  return p;
}

}  // namespace

bool large_blocks_let_go() { return kept_shrink(0); }

void* large_block_alloc(size_t size, size_t alignment, Maker maker) { return block_make(size, alignment, maker, 0); }

void* large_block_alloc_growing(const void* p, size_t size) {
  const char* start = start_of(p);
  if (start == nullptr) return nullptr;
  const unsigned grown = note_grown(extent_note(start)) + 1;
  return block_make(size, kBlockAlignment, Maker::malloc, grown < kHasRoom ? grown : kHasRoom);
}

void large_block_copy(void* to, const void* from, size_t size) {
  constexpr size_t kLook = 64;  // most pages that are not zero show it there
  const size_t page = os_page_size();
  const char* source = static_cast<const char*>(from);
  char* target = static_cast<char*>(to);
  for (; size >= page; source += page, target += page, size -= page) {
    if (!zeros_are_whole(source, source + kLook) || !zeros_are_whole(source, source + page))
      memcpy(target, source, page);
  }
  memcpy(target, source, size);
}

bool large_block_grow(void* p, size_t size) {
  char *start = start_of(p), *block = static_cast<char*>(p);
  if (start == nullptr) return false;
  const uint64_t note = extent_note(start);
  const size_t page = os_page_size();
  Record record = note_unpack(note, size_t(block - start));
  if (record.state != RecordState::live || note_grown(note) != kHasRoom || size < record.size) return false;
  if (!large_is_possible(size, 1) || page + round_up(size, page) + page > extent_block_size(start)) return false;
  const size_t before = round_up(record.size, page), now = round_up(size, page);
  if (now > before) {
    if (!os_protect(block + before, now - before, true)) return false;
    canary_set(block + size, block + now);
  }
  record.size = size;
  if (!extent_change_note(start, note, note_pack(record, kHasRoom))) return false;
  usage_kept.large_around.sub_relaxed(int64_t(now - before));
  return true;
}

void large_block_shrink(void* p, size_t size) {
  char *start = start_of(p), *block = static_cast<char*>(p);
  const uint64_t note = extent_note(start);
  const size_t page = os_page_size();
  Record record = note_unpack(note, size_t(block - start));
  const size_t before = round_up(record.size, page), now = round_up(size, page);
  canary_spread(block + size, block + now);
  record.size = size;
  if (!extent_change_note(start, note, note_pack(record, note_grown(note)))) return;
  // What may be refused where there is no memory.
  if (before > now) os_protect(block + now, before - now, false);
  usage_kept.large_around.add_relaxed(int64_t(before - now));
}

LargeBlock large_block_find(const void* p) {
  const char* start = start_of(p);
  if (start == nullptr) return {};
  Record record = note_unpack(extent_note(start), size_t(static_cast<const char*>(p) - start));
  return {record.state != RecordState::broken, record};
}

void* large_block_in(void* start, size_t* size) {
  const uint64_t note = extent_note(start);
  if (note == 0) return nullptr;
  const size_t front = os_page_size();
  const Record record = note_unpack(note, front);
  *size = record.size;
  return record.state == RecordState::live ? static_cast<char*>(start) + front : nullptr;
}

void* large_block_around(const void* p, size_t* size) {
  char* start = start_of(p);
  void* block = start != nullptr ? large_block_in(start, size) : nullptr;
  return block != nullptr && address_of(p) - address_of(block) < *size ? block : nullptr;
}

bool large_block_take(void* p) {
  char* start = start_of(p);
  const uint64_t note = extent_note(start);
  Record record = note_unpack(note, size_t(static_cast<char*>(p) - start));
  if (record.state != RecordState::live) return false;
  record.state = RecordState::free;
  return extent_change_note(start, note, note_pack(record, 0));
}

bool large_block_is_whole(const void* p, const Record& record) {
  const char* end = static_cast<const char*>(p) + record.size;
  return canary_is_whole(end, pointer_to<char>(round_up(address_of(end), os_page_size())));
}

void large_block_free(void* p, const Record& record) {
  char* start = start_of(p);
  ProgramHeap* holder;
  if (program_has_large() && !program_large_forget(start, &holder)) return;
  usage_kept.large_around.sub_relaxed(around(start, record));
  const size_t size = extent_block_size(start);
  if (record.size >= kHugePageSize) density.judge(p, record.size, BlockUse::is_callers);
  // Without the kernel's help it is as in the ordinary library, and clean. With too many mappings it can still be
  // purged.
  const size_t whole = round_up(record.size, os_page_size());
  if (!os_hide(start, size) && !os_purge(p, whole)) memset(p, 0, whole);
  keep(start, size);
  kept_shrink(kept_most());
}

}  // namespace poolalloc
