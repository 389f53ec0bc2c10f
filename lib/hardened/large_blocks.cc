// Large blocks of the hardened library (large_blocks.h).
//
// Who may use it: through large_blocks.h.
#include "hardened/large_blocks.h"

#include "chunk/extent.h"
#include "hardened/canary.h"
#include "heap/heap.h"
#include "heap/usage.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Freed blocks that keep their addresses, at the most; and how much of these.
constexpr unsigned kKeptMost = 256;
constexpr int64_t kKeptSize = int64_t{1} << 30;

// The starts of their extents; 0: none. How much there is of them is in usage_kept.
constinit Atomic<uintptr_t> kept[kKeptMost]{};
constinit Atomic<uint32_t> kept_next{0};

// Each guarded block is three mappings to the kernel, which has not many.
constexpr int64_t kGuardedMost = 8000;
constinit Atomic<int64_t> guarded{0};

// The parts of a block's extent.
struct Layout {
  char* start;
  size_t front;  // bytes before the block
  size_t whole;  // the block's own pages
  size_t size;   // all of it
};
Layout layout_of(char* start, size_t size, size_t alignment) {
  const size_t page = os_page_size(), front = alignment > page ? alignment : page;
  return {start, front, round_up(size, page), front + round_up(size, page) + page};
}

char* start_of(const void* p) { return static_cast<char*>(extent_start_around(p)); }

// A note, which nobody can write to but this library: the record, and the logarithm of what is in front of the block.
uint64_t note_pack(size_t front, Record record) {
  return record.size << 16 | log2_floor(front) << 8 | unsigned(record.state) << 2 | unsigned(record.maker);
}
// State broken: no block starts `before` bytes behind the extent's start.
Record note_unpack(uint64_t note, size_t before) {
  if (note == 0 || before != size_t{1} << (note >> 8 & 0xff)) return {RecordState::broken, Maker::malloc, 0};
  return {RecordState(note >> 2 & 7), Maker(note & 3), note >> 16};
}

// Lets a freed block's addresses go.
void let_go(uintptr_t start) {
  char* extent = pointer_to<char>(start);
  const size_t size = extent_block_size(extent);
  usage_kept.add_large(-1, size);
  guarded.sub_relaxed(1);
  // What the kernel does not give back is lost.
  if (!os_protect(extent, size, true)) return;
  if (size_t released = extent_release(extent); released != 0) heap_slow_path_end(released);
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

}  // namespace

bool large_blocks_let_go() { return kept_shrink(0); }

void* large_block_alloc(size_t size, size_t alignment, Maker maker) {
  constexpr size_t kMost = size_t{1} << (kAddressBits - 1);
  if (size > kMost || alignment > kMost) return nullptr;
  const size_t all = layout_of(nullptr, size, alignment).size;
  ExtentClaim claim = extent_claim(all, alignment, true);
  if (claim.block == nullptr && large_blocks_let_go()) claim = extent_claim(all, alignment, true);
  if (claim.block == nullptr) return nullptr;
  const Layout layout = layout_of(static_cast<char*>(claim.block), size, alignment);
  if (!claim.zeroed) memset(layout.start, 0, layout.size);
  char* p = layout.start + layout.front;
  if (guarded.add_relaxed(1) < kGuardedMost) {
    os_protect(layout.start, layout.front, false);
    os_protect(p + layout.whole, layout.size - layout.front - layout.whole, false);
  }
  canary_set(p + size, p + layout.whole);
  extent_set_note(layout.start, note_pack(layout.front, {RecordState::live, maker, size}));
  return p;
}

LargeBlock large_block_find(const void* p) {
  const char* start = start_of(p);
  if (start == nullptr) return {};
  Record record = note_unpack(extent_note(start), size_t(static_cast<const char*>(p) - start));
  if (record.state == RecordState::broken) return {};
  const char* end = static_cast<const char*>(p) + record.size;
  bool is_live = record.state == RecordState::live;
  bool is_whole = !is_live || canary_is_whole(end, pointer_to<char>(round_up(address_of(end), os_page_size())));
  return {true, is_whole, record};
}

void* large_block_around(const void* p, size_t* size) {
  char* start = start_of(p);
  const uint64_t note = start != nullptr ? extent_note(start) : 0;
  if (note == 0) return nullptr;
  const size_t front = size_t{1} << (note >> 8 & 0xff);
  const Record record = note_unpack(note, front);
  *size = record.size;
  bool is_inside = address_of(p) - address_of(start + front) < record.size;
  return record.state == RecordState::live && is_inside ? start + front : nullptr;
}

bool large_block_free(void* p) {
  char* start = start_of(p);
  const size_t front = size_t(static_cast<char*>(p) - start);
  Record record = note_unpack(extent_note(start), front);
  const uint64_t live = note_pack(front, record);
  record.state = RecordState::free;
  if (!extent_change_note(start, live, note_pack(front, record))) return false;
  const size_t size = extent_block_size(start);
  // Without the kernel's help it is as in the ordinary library.
  if (!os_hide(start, size)) memset(p, 0, record.size);
  keep(start, size);
  kept_shrink(kKeptSize);
  return true;
}

}  // namespace poolalloc
