// Extents: runs of OS pages, each of which is one large block or free, and what is known of each.
//
// Large blocks take whole OS pages and nothing besides: what describes an extent stands apart, in a record. A map
// (extent_map.h) has an entry for each 32 KiB of address space, a unit, and an extent is at least as long, so no two
// start, and no two end, in the same unit: the entry names the extent that starts there, and the one that ends there.
// So the neighbours of an extent are found in two steps, and free ones grow together.
//
// The equations:
//   extents do not overlap; each consists of whole OS pages and has at least kExtentUnit bytes
//   a free extent is clean (it reads as zeros: never used, or given back) or dirty (its memory may be resident), and
//   no two neighbours are free, of the same kind and mapping, and alike in huge pages
//   every free extent is in the bin of its size and kind; dirty ones are also in a queue, by when they were released
//   `is_huge` says what the kernel has been told last about huge pages in the whole extent
//   an extent is within one mapping, as the kernel sees it, where its advice is the same: what was moved never becomes
//   one with what is beside it
//
// Where a block comes from: the smallest dirty extent that fits well, then the smallest clean one, then new address
// space, a quarter more than there is. A block that grows by realloc takes free extents behind it; to have such, it is
// placed in the largest ones. One of several MiB is moved by the kernel, page by page, to where it has room.
//
// Synchronization: everything under extents_lock. A record is never freed, and its `start` may be read without: whoever
// holds a block finds its own address there.
// Who may use it: chunk; heap through large.h and for fork.
#pragma once

#include "base/atomic.h"
#include "base/constants.h"
#include "os/lock.h"

namespace poolalloc {

// The least size of an extent, bytes, and the grain of the map.
inline constexpr unsigned kExtentShift = 15;
inline constexpr size_t kExtentUnit = size_t{1} << kExtentShift;

enum class ExtentState : uint8_t { clean, dirty, block };

struct alignas(kCacheLine) Extent {
  Atomic<uintptr_t> start;  // address
  size_t size;              // bytes
  ExtentState state;
  bool is_huge;
  uint16_t mapping;     // 0: as it was mapped; else which of the moves it came by, about
  uint32_t used_pages;  // OS pages of a free extent that have been in use before, dirty or not
  union {
    struct {             // a free extent
      Extent* next;      // in its bin
      Extent* previous;  // in its bin
      Extent* newer;     // in the queue of dirty extents
      Extent* older;
    };
    struct {                    // a block
      size_t block_size;        // bytes that its user may use, whole OS pages
      size_t fresh_size;        // bytes that were clean when it was claimed
      uint64_t is_cleared : 1;  // it was claimed for zeros
      uint64_t holder : 63;     // an address; see extent_holder_set
      uint64_t note;            // the hardened library's
    };
  };
};
static_assert(sizeof(Extent) == kCacheLine);

extern constinit Lock extents_lock;

// What the accounts (accounts.h) have of extents; exact while extents_lock is held. With the number of blocks, and
// their bytes.
struct ExtentTotals {
  int64_t in_use, dirty_free, used_free, clean_free;
  size_t block_count, block_bytes;
};
const ExtentTotals& extent_totals();

struct ExtentClaim {
  void* block;  // nullptr: no memory
  bool zeroed;
};

// A block of `size` bytes of which the one at `offset`, whole pages, is aligned to `alignment`, a power of two; all are
// address space that there can be. `cleared`: for a caller who wants zeros, and may mean to leave most of them.
ExtentClaim extent_claim(size_t size, size_t alignment, bool cleared, size_t offset = 0);
// A block for one that has had `filled` bytes and is growing: placed where it can grow on. nullptr: no memory.
void* extent_claim_growing(size_t size, size_t filled);
// Bytes that the user of the block at p may use; 0: no block starts there, whatever p is.
size_t extent_block_size(const void* p);
// Frees the block at p; its extent's size, 0: no block starts there. Purges nothing: see purge_excess. `is_new`: its
// pages have been mapped anew, and nobody has touched them.
size_t extent_release(void* p, bool is_new = false);
// Huge pages for a block that nobody has touched and that is going to be filled, if there is a size for them.
void extent_advise_dense(void* p);
// Changes the size of a block where it is; false: that cannot be done, and nothing has changed. What a smaller block
// leaves is free.
bool extent_resize(void* p, size_t size);
// Moves the pages of a block, without copying, to where it can have `size` bytes; nullptr: nothing has changed.
void* extent_move(void* p, size_t size);

// The hardened library's note on a block, 0 at first; of what is no block's start: 0. Changes it if it is `before`;
// whether it was.
uint64_t extent_note(const void* start);
void extent_set_note(void* start, uint64_t note);
bool extent_change_note(void* start, uint64_t before, uint64_t after);
// The start of the block that contains p; nullptr: none does.
void* extent_start_around(const void* p);

// What a program heap knows of a block (heap/program_heap.h), nullptr at first and when the block has moved. Taking it
// leaves none.
void extent_holder_set(void* start, void* holder);
void* extent_holder(const void* start);
void* extent_holder_take(const void* start);

// Clean memory that blocks have taken since the last answer that was not 0, if it is `least` bytes or more.
size_t extents_clean_taken(size_t least);

// --- For giving memory back: no lock held, but purge_lock by extents_purge -----------------------------------

// Gives back about `excess` bytes of dirty extents, the oldest first, at least one; how many, 0: none are left, or the
// kernel refuses, which sets *refused.
size_t extents_purge(size_t excess, bool* refused);
// Bytes of dirty extents. Takes no lock: pools are claimed while a fork holds this one.
size_t extents_dirty_size();
// Unmaps all free extents; whether there were any.
bool extents_unmap();
// Address space is limited: from here on none is kept that is clean, and trimming gives all of it back. At start-up, as
// a sandbox may forbid to ask later.
void extents_note_limit();
bool extents_space_is_limited();

// Tells the kernel what those are that there are already (os_name).
void extents_name();

// In the child of a fork, when a thread that has vanished may have been changing extents: every whole block stays one,
// and all free extents are given up, because nobody can know which of them are whole. extents_lock held.
void extents_salvage();

}  // namespace poolalloc
