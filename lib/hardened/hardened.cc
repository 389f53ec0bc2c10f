// The malloc family of the hardened library (hardened.h).
//
// Who may use it: through hardened.h.
#include "hardened/hardened.h"

#include "hardened/canary.h"
#include "hardened/large_blocks.h"
#include "hardened/no_bytes.h"
#include "hardened/quarantine.h"
#include "hardened/record.h"
#include "heap/fast.h"
#include "heap/find.h"
#include "heap/holes.h"
#include "heap/remote.h"

namespace poolalloc {
namespace {

constexpr size_t kRecordSize = sizeof(uint64_t);
// The least size of a block of a pool: on its way from another thread a free block has a message before its record.
constexpr size_t kSizeLeast = sizeof(RemoteMessage) + kRecordSize;
// How far beyond a block's ends its neighbours are looked at, bytes.
constexpr size_t kNear = 32;

// A block of a pool, in use or not.
struct PoolBlock {
  char* start;
  BlockPool* pool;

  size_t size() const { return class_size(pool->size_class); }
  char* end() const { return start + size() - kRecordSize; }  // of what a user may have
  Atomic<uint64_t>& word() const { return *reinterpret_cast<Atomic<uint64_t>*>(end()); }
  // Acquire: what was done before the state was written is seen.
  Record record() const { return record_unpack(start, word().load_acquire()); }
  // Release: to who reads the state.
  void set(Record record) const { word().store_release(record_pack(start, record)); }
};

// --- Is it as it was left? -----------------------------------------------------------------------------------

// Whether a block's memory was given back, its link included.
bool is_in_hole(const PoolBlock& block) {
  const size_t offset = size_t(block.start - slice_address(block.pool));
  return (pool_holes(block.pool)[offset / kSliceSize] & hole_bit(offset)) != 0;
}

// Whether the bytes [from, until) of a block, not in use or behind what its user has, are as they were left.
bool part_is_whole(const PoolBlock& block, const Record& record, const char* from, const char* until) {
  if (record.state == RecordState::live) {
    const char* own = block.start + record.size;
    return bytes_are(from > own ? from : own, until, kCanary);
  }
  if (record.state == RecordState::busy) return true;
  const char* behind_link = block.start + sizeof(RemoteMessage);
  if (from >= behind_link) return bytes_are(from, until, 0);
  // A free block has a link to another one, and may be a message (heap/remote.h); one that was used before may be on its
  // way to that.
  const Block* head = reinterpret_cast<const Block*>(block.start);
  const uintptr_t step = link_step(head);
  const bool may_lack_link = record.state != RecordState::unused || is_in_hole(block);
  if (step >= kReach) return may_lack_link && bytes_are(from, until, 0);
  const Block* next = block_after(head, step);
  return (next == list_end(*block.pool) || pool_find(next) == block.pool) && bytes_are(behind_link, until, 0);
}

// Whether a neighbour of a block of the calling thread's heap is whole, from `from` to `until`, bytes from its start. Only
// this thread hands out blocks of the pool, and it does not now; others may free them. So if the record is the same
// before and after, the block has not changed meanwhile.
bool neighbour_is_whole(const PoolBlock& block, size_t from, size_t until) {
  const uint64_t before = block.word().load_acquire();
  const Record record = record_unpack(block.start, before);
  if (record.state == RecordState::broken) return false;
  const size_t room = block.size() - kRecordSize;
  bool is_whole = part_is_whole(block, record, block.start + from, block.start + (until < room ? until : room));
  return is_whole || block.word().load_acquire() != before;
}

// Whether what is near a block of the calling thread's heap is whole.
bool surroundings_are_whole(const PoolBlock& block) {
  const size_t size = block.size();
  const size_t index = size_t(block.start - slice_address(block.pool)) / size;
  for (size_t i = 1; i <= index && (i - 1) * size < kNear; i++) {
    size_t reach = kNear - (i - 1) * size;  // of the bytes before the block, in this one
    if (!neighbour_is_whole({block.start - i * size, block.pool}, reach < size ? size - reach : 0, size)) return false;
  }
  for (size_t i = 1; index + i < block.pool->size && (i - 1) * size < kNear; i++) {
    if (!neighbour_is_whole({block.start + i * size, block.pool}, 0, kNear - (i - 1) * size)) return false;
  }
  return true;
}

// Gives the blocks near one of the calling thread's heap, that were never used, records, so that it is noticed when they
// are written over.
void surroundings_mark(const PoolBlock& block) {
  const size_t size = block.size();
  const size_t index = size_t(block.start - slice_address(block.pool)) / size;
  auto mark = [&](char* start) {
    const PoolBlock neighbour{start, block.pool};
    if (neighbour.word().load_relaxed() == 0) neighbour.set({RecordState::unused, Maker::malloc, 0});
  };
  for (size_t i = 1; i <= index && (i - 1) * size < kNear; i++) mark(block.start - i * size);
  for (size_t i = 1; index + i < block.pool->size && (i - 1) * size < kNear; i++) mark(block.start + i * size);
}

bool is_own(const BlockPool* pool) { return pool != nullptr && pool->owner == thread_heap && thread_heap != nullptr; }

// --- Saying so ----------------------------------------------------------------------------------------------

void say_free_already(Caller caller, const void* p, size_t size) {
  Message message;
  misuse_begin(message, caller, p).text("free already (double free of a block of ").number(size).text(" bytes)");
  misuse_say(message);
}

void say_overflow(const void* p, const char* what) {
  Message message;
  message.text("the block at ").address(p).text(" was written beyond its end, or ").text(what);
  misuse_say(message);
}

void say_written_free(const void* p, size_t size) {
  Message message;
  message.address(p).text(" was written to after it was freed, or by an overflow of the block before it (a free block of ");
  message.number(size).text(" bytes)");
  misuse_say(message);
}

// Whether the caller may free what the maker has made.
bool suits(Caller caller, Maker maker) {
  switch (caller) {
    case Caller::delete_one:
      return maker == Maker::new_one;
    case Caller::delete_array:
      return maker == Maker::new_array;
    default:
      return maker == Maker::malloc;
  }
}

// Says what is wrong between who has made a block and who frees it.
void check_suits(Caller caller, const void* p, const Record& record, size_t said_size) {
  static constexpr const char* kMakers[] = {"malloc or a relative", "operator new", "operator new[]"};
  Message message;
  if (!suits(caller, record.maker)) {
    misuse_begin(message, caller, p).text("a block of ").text(kMakers[unsigned(record.maker)]);
    misuse_say(message);
  } else if (said_size != kUnsaid && said_size != record.size) {
    misuse_begin(message, caller, p).text("a block of ").number(record.size).text(" bytes, not of ").number(said_size);
    misuse_say(message);
  }
}

// --- Blocks of pools -----------------------------------------------------------------------------------------

// What is wrong with a block that was handed out lately; nullptr: nothing, or it is not known any more.
const char* given_fault(const void* p) {
  BlockPool* pool = pool_find(p);
  if (!is_own(pool)) return nullptr;
  const PoolBlock block{static_cast<char*>(const_cast<void*>(p)), pool};
  const Record record = block.record();
  if (record.state == RecordState::broken || record.state == RecordState::unused) return "the one behind it before its start";
  if (record.state != RecordState::live) return nullptr;
  const char* own = block.start + record.size;
  const char* until = block.end() - own > ptrdiff_t{2 * kNear} ? own + 2 * kNear : block.end();
  if (!part_is_whole(block, record, own, until) || !surroundings_are_whole(block))
    return "before its start, or a free block near it after it was freed";
  return nullptr;
}

// Looks at what the thread was given last, and has freed last: who writes where he may not, is often noticed so before
// the block is freed, or never. A fault is believed if it is there while nobody can take a pool away.
void look_at_recent(const Quarantine& quarantine) {
  for (void* p : quarantine.given) {
    if (PA_LIKELY(p == nullptr || given_fault(p) == nullptr)) continue;
    const char* fault;
    {
      LockGuard guard(thread_heap->gate->lock);
      fault = given_fault(p);
    }
    if (fault != nullptr) say_overflow(p, fault);
  }
  for (void* p : quarantine.freed) {
    if (p == nullptr) continue;
    const PoolBlock block{static_cast<char*>(p), pool_find(p)};
    const char* until = block.size() > 2 * kNear ? block.start + 2 * kNear : block.end();
    if (block.record().state != RecordState::freed || !bytes_are(block.start, until, 0)) say_written_free(p, block.size());
  }
}

void* pool_block_alloc(size_t wanted, size_t size, Maker maker) {
  void* p = heap_malloc(wanted);
  if (p == nullptr) p = heap_malloc_slow(wanted);
  if (p == nullptr) return nullptr;
  const PoolBlock block{static_cast<char*>(p), pool_find(p)};
  const Record before = block.record();
  bool is_new = before.state == RecordState::unused || before.state == RecordState::free;
  if (PA_UNLIKELY(!is_new || !bytes_are(block.start, block.end(), 0))) {
    say_written_free(p, block.size());
    memset(block.start, 0, block.size() - kRecordSize);
  }
  block.set({RecordState::busy, maker, size});
  memset(block.start + size, kCanary, size_t(block.end() - block.start) - size);
  block.set({RecordState::live, maker, size});
  if (is_own(block.pool)) surroundings_mark(block);
  return p;
}

void pool_block_free(const PoolBlock& block, Caller caller, size_t said_size) {
  const uint64_t before = block.word().load_acquire();
  Record record = record_unpack(block.start, before);
  if (record.state == RecordState::freed || record.state == RecordState::free || record.state == RecordState::busy)
    return say_free_already(caller, block.start, block.size());
  if (record.state == RecordState::unused) {
    Message message;
    misuse_begin(message, caller, block.start).text("in memory that is free (double free, or a wrong pointer)");
    return misuse_say(message);
  }
  if (record.state == RecordState::broken) {
    say_overflow(block.start, "the one behind it before its start");
    record = {RecordState::live, Maker::malloc, size_t(block.end() - block.start)};
  } else {
    check_suits(caller, block.start, record, said_size);
    if (!part_is_whole(block, record, block.start, block.end())) say_overflow(block.start, "the one behind it before its start");
  }
  if (is_own(block.pool) && !surroundings_are_whole(block))
    say_overflow(block.start, "before its start, or a free block near it after it was freed");
  uint64_t expected = before;
  if (!block.word().cas_weak_acq_rel(expected, record_pack(block.start, {RecordState::busy, record.maker, record.size})) &&
      expected != before)
    return say_free_already(caller, block.start, block.size());
  memset(block.start, 0, size_t(block.end() - block.start));
  block.set({RecordState::freed, record.maker, record.size});
  Quarantine* quarantine = quarantine_own();
  void* leaves = quarantine != nullptr ? quarantine_swap(*quarantine, block.pool->size_class, block.start) : block.start;
  if (quarantine != nullptr) {
    for (void*& each : quarantine->given) {
      if (each == block.start) each = nullptr;
    }
    for (void*& each : quarantine->freed) {
      if (each == leaves) each = nullptr;
    }
    quarantine->freed[quarantine->freed_next++ % Quarantine::kRecent] = block.start;
  }
  if (leaves != nullptr) quarantine_let_go(leaves);
}

// --- Any pointer ----------------------------------------------------------------------------------------------

// What is known of a block in use, whatever serves it.
struct Found {
  bool is_live;
  size_t size;
};

Found find(const void* p, Caller caller) {
  if (NoBytes none = no_bytes_find(p); none.is_ours) {
    if (!none.is_live) misuse_pointer(caller, p);
    return {none.is_live, 0};
  }
  Record record;
  size_t room;
  if (BlockPool* pool = pool_find(p); pool != nullptr) {
    const PoolBlock block{static_cast<char*>(const_cast<void*>(p)), pool};
    record = block.record();
    room = block.size() - kRecordSize;
    if (record.state == RecordState::broken) {
      say_overflow(p, "the one behind it before its start");
      record = {RecordState::live, Maker::malloc, room};
    }
  } else {
    LargeBlock large = large_block_find(p);
    if (!large.is_there) return misuse_pointer(caller, p), Found{false, 0};
    record = large.record;
    room = record.size;
  }
  if (record.state != RecordState::live) return say_free_already(caller, p, room), Found{false, 0};
  return {true, record.size};
}

}  // namespace

void quarantine_let_go(void* p) {
  const PoolBlock block{static_cast<char*>(p), pool_find(p)};
  block.set({RecordState::free, Maker::malloc, 0});
  heap_free(p, Caller::free);
}

void* hardened_alloc(size_t size, size_t alignment, Maker maker) {
  if (size == 0 && alignment <= kBlockAlignment) return no_bytes_alloc(maker);
  if (size > kRequestMax) return nullptr;
  const size_t least = size + kRecordSize < kSizeLeast ? kSizeLeast : size + kRecordSize;
  const size_t wanted = round_up(least, alignment);
  if (wanted > kPoolBlockMax || alignment > kSliceSize) return large_block_alloc(size, alignment, maker);
  Quarantine* quarantine = quarantine_own();
  if (quarantine != nullptr && heap_is_usable(thread_heap)) look_at_recent(*quarantine);
  void* p = pool_block_alloc(wanted, size, maker);
  if (p != nullptr && quarantine != nullptr) quarantine->given[quarantine->given_next++ % Quarantine::kRecent] = p;
  return p;
}

void hardened_free(void* p, Caller caller, size_t said_size) {
  if (p == nullptr) return;
  if (BlockPool* pool = pool_find(p); PA_LIKELY(pool != nullptr))
    return pool_block_free({static_cast<char*>(p), pool}, caller, said_size);
  if (NoBytes none = no_bytes_find(p); none.is_ours) {
    if (!none.is_live) return say_free_already(caller, p, 0);
    check_suits(caller, p, {RecordState::live, none.maker, 0}, said_size);
    if (!no_bytes_free(p)) say_free_already(caller, p, 0);
    return;
  }
  const LargeBlock large = large_block_find(p);
  if (!large.is_there) return misuse_pointer(caller, p);
  if (large.record.state != RecordState::live) return say_free_already(caller, p, large.record.size);
  check_suits(caller, p, large.record, said_size);
  if (!large.is_whole) say_overflow(p, "what is behind it before its start");
  if (!large_block_free(p)) say_free_already(caller, p, large.record.size);
}

bool hardened_find(const void* p, Caller caller, size_t* size) {
  const Found found = find(p, caller);
  *size = found.size;
  return found.is_live;
}

size_t hardened_usable_size(const void* p, Caller caller) {
  size_t size;
  return hardened_find(p, caller, &size) ? size : 0;
}

}  // namespace poolalloc
