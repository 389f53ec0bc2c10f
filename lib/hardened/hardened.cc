// The malloc family of the hardened library (hardened.h).
//
// Who may use it: through hardened.h.
#include "hardened/hardened.h"

#include "base/record.h"
#include "hardened/canary.h"
#include "hardened/large_blocks.h"
#include "hardened/no_bytes.h"
#include "hardened/pool_block.h"
#include "hardened/quarantine.h"
#include "heap/fast.h"
#include "heap/find.h"
#include "heap/holes.h"
#include "heap/next_allocator.h"
#include "heap/program_heap.h"
#include "heap/remote.h"
#include "os/cxx_runtime.h"

namespace poolalloc {
namespace {

// The least size of a block of a pool: on its way from another thread a free block has a message before its record.
constexpr size_t kSizeLeast = sizeof(RemoteMessage) + kRecordSize;
// How far beyond a block's ends its neighbours are looked at, bytes; no block of a pool is smaller.
constexpr size_t kNear = 32;
static_assert(class_size_compute(size_class_compute(kSizeLeast)) >= kNear);

// --- Is it as it was left? -----------------------------------------------------------------------------------

bool is_in_hole(const PoolBlock& block) {
  const size_t offset = size_t(block.start - slice_address(block.pool));
  return (pool_holes(block.pool)[offset / kSliceSize] & hole_bit(offset)) != 0;
}

// Whether the start of a free block is whole: it has a link to another one of its pool, and may be a message; or it is
// on its way to a list.
bool free_start_is_whole(const PoolBlock& block) {
  const Block* head = reinterpret_cast<const Block*>(block.start);
  // Once, because another thread may be about to link it.
  const uintptr_t link = __atomic_load_n(&head->link, __ATOMIC_RELAXED);
  const uintptr_t step = link ^ link_secret;
  const Block* next = block_after(head, step);
  bool is_right = step < kReach && (next == list_end(*block.pool) || pool_has(*block.pool, next));
  if (link != 0 && !is_right) return is_in_hole(block);
  return zeros_are_whole(block.start + sizeof(RemoteMessage), block.start + kNear - kRecordSize);
}

// Whether a free block is as it was left, where the block behind it begins.
bool free_end_is_whole(const PoolBlock& block) {
  bool has_start = block.size < kNear + sizeof(RemoteMessage) + kRecordSize;
  return has_start ? free_start_is_whole(block) : zeros_are_whole(block.end() + kRecordSize - kNear, block.end());
}

// The neighbours of a block of the calling thread's heap, where they touch it. Only this thread hands out blocks of the
// pool, and it does not now; others may free them. So if the record is the same before and after, the block has not
// changed meanwhile.
template <typename IsWhole>
PA_INLINE bool neighbour_is_whole(const PoolBlock& block, IsWhole free_is_whole) {
  const uint64_t word = block.word().load_acquire();
  const RecordState state = record_unpack(block.start, word).state;
  if (PA_LIKELY(state == RecordState::live || state == RecordState::busy)) return true;
  if (state == RecordState::broken) return is_in_hole(block);
  return free_is_whole(block) || block.word().load_acquire() != word;
}
PA_INLINE bool before_is_whole(const PoolBlock& block) {
  if (block.start == slice_address(block.pool)) return true;
  return neighbour_is_whole(PoolBlock{block.start - block.size, block.pool, block.size}, free_end_is_whole);
}
PA_INLINE bool behind_is_whole(const PoolBlock& block) {
  const PoolBlock behind{block.start + block.size, block.pool, block.size};
  if (size_t(behind.start - slice_address(block.pool)) >= block.pool->size * block.size) return true;
  return neighbour_is_whole(behind, free_start_is_whole);
}
// What is behind a larger block is too far away to be looked at each time.
PA_INLINE bool neighbours_are_whole(const PoolBlock& block) {
  constexpr size_t kShort = 128;
  return before_is_whole(block) && (block.size > kShort || behind_is_whole(block));
}

PA_INLINE bool is_own(const BlockPool* pool) { return pool->owner == thread_heap && thread_heap != nullptr; }

// --- Saying so ----------------------------------------------------------------------------------------------

PA_COLD void say_free_memory(Caller caller, const void* p) {
  Message message;
  misuse_begin(message, caller, p).text("in memory that is free (double free, or a wrong pointer)");
  misuse_say(message);
}

// A pointer that is not the start of a block. What heap/misuse.h knows of an extent is not where its block begins.
PA_COLD void say_wrong_pointer(Caller caller, const void* p) {
  size_t size;
  const void* block = large_block_around(p, &size);
  if (block == nullptr || caller == Caller::usable_size) return misuse_pointer(caller, p);
  Message message;
  misuse_begin(message, caller, p);
  misuse_say(misuse_inside(message, block, size));
}

PA_COLD void say_overflow(const void* p) {
  Message message;
  message.text("the block at ").address(p).text(" was written beyond its end, or the one behind it before its start");
  misuse_say(message);
}

PA_COLD void say_near(const void* p) {
  Message message;
  message.text("the block at ").address(p);
  message.text(" was written beyond its ends, or a free one beside it after it was freed");
  misuse_say(message);
}

// Whether the caller may free what the maker has made.
PA_INLINE bool suits(Caller caller, Maker maker) {
  return caller == Caller::delete_one     ? maker == Maker::new_one
         : caller == Caller::delete_array ? maker == Maker::new_array
                                          : maker == Maker::malloc;
}

// Whether one of the two is malloc's family and the other one operator new's, and these may be the same here.
bool may_suit(Caller caller, Maker maker) {
  return suits(caller, Maker::malloc) != (maker == Maker::malloc) && os_has_private_cxx_runtime();
}

// Says what is wrong between who has made a block and who frees it.
PA_COLD void say_unsuited(Caller caller, const void* p, const Record& record, size_t said_size) {
  static constexpr const char* kMakers[] = {"malloc or a relative", "operator new", "operator new[]"};
  const bool is_unsuited = !suits(caller, record.maker) && !may_suit(caller, record.maker);
  if (!is_unsuited && (said_size == kUnsaid || said_size == record.size)) return;
  Message message;
  misuse_begin(message, caller, p).text("a block of ");
  if (is_unsuited) {
    message.text(kMakers[unsigned(record.maker)]);
  } else {
    message.number(record.size).text(" bytes, not of ").number(said_size);
  }
  misuse_say(message);
}

PA_INLINE void check_suits(Caller caller, const void* p, const Record& record, size_t said_size) {
  if (PA_LIKELY(suits(caller, record.maker) && (said_size == kUnsaid || said_size == record.size))) return;
  say_unsuited(caller, p, record, said_size);
}

// --- Blocks of pools -----------------------------------------------------------------------------------------

// Looks at what a program without threads was given last, and at what the thread has freed last, once: so who writes
// where he may not is noticed before the block is freed, or if it never is. Blocks in use may be freed by other
// threads.
PA_INLINE void look_at_recent(Quarantine& quarantine) {
  if (const PoolBlock& given = quarantine.given; given.start != nullptr && PA_LIKELY(!os_has_threads())) {
    const char* end = given.start + record_size(quarantine.given_word);
    bool is_whole = given.word().load_relaxed() == quarantine.given_word && canary_is_whole(end, given.end());
    if (PA_UNLIKELY(!is_whole)) {
      say_overflow(given.start);
    } else if (PA_UNLIKELY(!before_is_whole(given))) {
      say_near(given.start);
    }
  }
  if (PoolBlock& freed = quarantine.freed; freed.start != nullptr) {
    bool is_whole = freed.word().load_relaxed() == record_free(freed.start) &&
                    zeros_are_whole(freed.start, freed.size > 4 * kNear ? freed.start + 4 * kNear : freed.end());
    if (PA_UNLIKELY(!is_whole)) misuse_written_free(freed.start, freed.size);
    freed.start = nullptr;
  }
}

void* pool_block_alloc(Quarantine* quarantine, size_t wanted, size_t size, Maker maker) {
  // For a program heap the fast path is another's.
  void* p = PA_LIKELY(program_target == nullptr) ? heap_malloc(wanted) : nullptr;
  if (PA_UNLIKELY(p == nullptr)) p = heap_malloc_slow(wanted);
  if (PA_UNLIKELY(p == nullptr) && program_allows(wanted) && large_blocks_let_go()) p = heap_malloc_slow(wanted);
  if (PA_UNLIKELY(p == nullptr)) return nullptr;
  const PoolBlock block = block_at(p, pool_of(p));
  bool is_free = block.word().load_relaxed() == record_free(p);
  if (PA_UNLIKELY(!is_free || !zeros_are_whole(block.start, block.end()))) {
    misuse_written_free(p, block.size);
    zeros_set(block.start, block.end());
  }
  // The record first: a signal handler may look at it from the block behind.
  const uint64_t word = record_pack(p, {RecordState::live, maker, size});
  block.word().store_release(word);
  canary_set(block.start + size, block.end());
  // What goes with its heap is not to be looked at later.
  if (PA_LIKELY(quarantine != nullptr && program_of(block.pool) == nullptr)) {
    quarantine->given = block;
    quarantine->given_word = word;
    // Others may free it; a child of fork must not remember it.
    if (os_has_threads()) quarantine->given.start = nullptr;
  }
  return p;
}

// Frees a block whose record has been found to be right, or not.
PA_INLINE void pool_block_release(const PoolBlock& block) {
  zeros_set(block.start, block.end());
  block.word().store_release(record_free(block.start));
  Quarantine* quarantine = program_of(block.pool) == nullptr ? quarantine_own() : nullptr;
  if (PA_UNLIKELY(quarantine == nullptr)) return quarantine_let_go(block.start);
  void* leaves = quarantine_swap(*quarantine, block.pool->size_class, block.start);
  if (quarantine->given.start == block.start) quarantine->given.start = nullptr;
  quarantine->freed = block;
  if (PA_LIKELY(leaves != nullptr)) quarantine_let_go(leaves);
}

// Whether a block, whose record is not that of one in use, counts as in use all the same; says what is wrong with it.
PA_COLD bool counts_as_live(const PoolBlock& block, const Record& record, Caller caller) {
  if (record.state != RecordState::broken) {
    misuse_free_already(caller, block.start, block.size);
  } else if (block_is_linked(reinterpret_cast<const Block*>(block.start)) || is_in_hole(block)) {
    say_free_memory(caller, block.start);
  } else {
    say_overflow(block.start);
    return true;
  }
  return false;
}

PA_INLINE void pool_block_free(const PoolBlock& block, Caller caller, size_t said_size) {
  uint64_t word = block.word().load_acquire();
  const Record record = record_unpack(block.start, word);
  if (PA_UNLIKELY(record.state != RecordState::live)) {
    if (!counts_as_live(block, record, caller)) return;
  } else {
    check_suits(caller, block.start, record, said_size);
    if (PA_UNLIKELY(!canary_is_whole(block.start + record.size, block.end()))) say_overflow(block.start);
  }
  if (is_own(block.pool) && PA_UNLIKELY(!neighbours_are_whole(block))) say_near(block.start);
  if (os_has_threads()) {
    const uint64_t busy = record_pack(block.start, {RecordState::busy, record.maker, record.size});
    if (PA_UNLIKELY(!block.word().cas_acquire(word, busy))) return misuse_free_already(caller, block.start, block.size);
  }
  pool_block_release(block);
}

// --- Any pointer ----------------------------------------------------------------------------------------------

PA_COLD void other_free(void* p, Caller caller, size_t said_size) {
  if (NoBytes none = no_bytes_find(p); none.is_ours) {
    if (!none.is_live) return misuse_free_already(caller, p, 0);
    check_suits(caller, p, {RecordState::live, none.maker, 0}, said_size);
    if (!no_bytes_free(p)) misuse_free_already(caller, p, 0);
    return;
  }
  const LargeBlock large = large_block_find(p);
  if (!large.is_there) {
    if (const NextAllocator* next = next_allocator()) return next->free(p);
    return say_wrong_pointer(caller, p);
  }
  if (large.record.state != RecordState::live) return misuse_free_already(caller, p, large.record.size);
  check_suits(caller, p, large.record, said_size);
  if (!large_block_take(p)) return misuse_free_already(caller, p, large.record.size);
  if (!large_block_is_whole(p, large.record)) say_overflow(p);
  large_block_free(p, large.record);
}

}  // namespace

void quarantine_let_go(void* p) {
  // Where a list and a message have their words nobody can tell later what was written meanwhile.
  char* start = static_cast<char*>(p);
  char* end = start + sizeof(RemoteMessage);
  if (PA_UNLIKELY(!zeros_are_whole(start, end))) {
    misuse_written_free(p, class_size(pool_of(p)->size_class));
    zeros_set(start, end);
  }
  heap_free(p, Caller::free);
}

void* hardened_alloc(size_t size, size_t alignment, Maker maker) {
  // A block of a program heap must go with it.
  if (PA_UNLIKELY(size == 0 && alignment <= kBlockAlignment) && program_target == nullptr) return no_bytes_alloc(maker);
  if (size > kRequestMax) return nullptr;
  const size_t least = size + kRecordSize < kSizeLeast ? kSizeLeast : size + kRecordSize;
  const size_t wanted = round_up(least, alignment);
  if (PA_UNLIKELY(wanted > kPoolBlockMax || alignment > kSliceSize)) return large_block_alloc(size, alignment, maker);
  Quarantine* quarantine = quarantine_own();
  if (PA_LIKELY(quarantine != nullptr)) look_at_recent(*quarantine);
  return pool_block_alloc(quarantine, wanted, size, maker);
}

void hardened_free(void* p, Caller caller, size_t said_size) {
  // The most frequent case first: a block in the first slice of its pool.
  const BlockPool* pool = PA_LIKELY(chunk_is_listed(address_of(p))) ? descriptor_of(p) : nullptr;
  bool is_block = pool != nullptr && pool->owner != nullptr && block_pool_has(*pool, address_of(p) % kSliceSize);
  if (PA_UNLIKELY(!is_block)) {
    if (p == nullptr) return;
    pool = pool_find(p);
    if (pool == nullptr) return other_free(p, caller, said_size);
  }
  pool_block_free(block_at(p, pool), caller, said_size);
}

bool hardened_expand(void* p, size_t size) {
  size_t before;
  if (!hardened_find(p, Caller::realloc, &before)) return false;
  return size == before || (size > before && large_block_grow(p, size));
}

void hardened_shrink(void* p, size_t size) {
  const BlockPool* pool = pool_find(p);
  if (pool == nullptr) {
    if (!no_bytes_find(p).is_ours) large_block_shrink(p, size);
    return;
  }
  const PoolBlock block = block_at(p, pool);
  const Record before = record_unpack(p, block.word().load_acquire());
  const uint64_t word = record_pack(p, {RecordState::live, before.maker, size});
  // The canary first: who looks at it from a block beside it finds it whole by either record.
  canary_spread(block.start + size, block.end());
  block.word().store_release(word);
  if (Quarantine* own = quarantine_of_thread; own != nullptr && own->given.start == block.start) own->given_word = word;
}

void* hardened_block_in(void* start, size_t* size) { return large_block_in(start, size); }

void hardened_discard(void* start) {
  size_t size;
  void* p = large_block_in(start, &size);
  if (p == nullptr) return;
  const LargeBlock large = large_block_find(p);
  if (!large_block_take(p)) return;
  if (!large_block_is_whole(p, large.record)) say_overflow(p);
  large_block_free(p, large.record);
}

bool hardened_has(const void* p) {
  return no_bytes_find(p).is_ours || pool_find(p) != nullptr || large_block_find(p).is_there;
}

bool hardened_find(void* p, Caller caller, size_t* size) {
  *size = 0;
  if (NoBytes none = no_bytes_find(p); none.is_ours) {
    if (!none.is_live) misuse_free_already(caller, p, 0);
    return none.is_live;
  }
  Record record;
  size_t whole;  // as free says it
  if (const BlockPool* pool = pool_find(p); pool != nullptr) {
    const PoolBlock block = block_at(p, pool);
    record = record_unpack(p, block.word().load_acquire());
    whole = block.size;
    if (record.state != RecordState::live) {
      if (!counts_as_live(block, record, caller)) return false;
      record = {RecordState::live, Maker::malloc, whole - kRecordSize};
    }
  } else {
    const LargeBlock large = large_block_find(p);
    if (!large.is_there) return say_wrong_pointer(caller, p), false;
    record = large.record;
    whole = record.size;
  }
  if (record.state != RecordState::live) return misuse_free_already(caller, p, whole), false;
  *size = record.size;
  return true;
}

}  // namespace poolalloc
