// Misuse of memory, as far as it is noticed: blocks freed twice, pointers that no malloc has returned, free blocks that
// were written to.
//
// Always holds: nobody is accused but for what is certain. A pointer is judged by this library's own structures, and
// where it is none of these, by what the kernel and the linker say of the address; it is never read through before it
// is known to be ours. Only an address that another allocator may own is *foreign*, which has an option of its own. A
// report is made without locks and before anything has changed, so a handler of SIGABRT may allocate.
// Who may use it: heap and api.
#pragma once

#include "chunk/chunk.h"
#include "os/message.h"

namespace poolalloc {

struct GuardView;

// Of what is certain.
enum class MisusePolicy : uint8_t {
  abort,   // say so and abort
  warn,    // say so and go on
  ignore,  // count
};
// Of what another allocator may own: ld.so's early one, a second libc.
enum class ForeignPolicy : uint8_t {
  ignore,  // count
  warn,    // and say so on stderr, the first time
  abort,   // say so and abort
};

// Synchronization: set once at start-up; until then the defaults hold.
extern constinit Atomic<MisusePolicy> misuse_policy;
extern constinit Atomic<ForeignPolicy> foreign_policy;

// The function that was given a pointer, for messages.
enum class Caller : uint8_t { free, free_sized, free_aligned_sized, realloc, delete_one, delete_array, usable_size };

// `p` is not the start of a block that is in use. Returns unless the policy is to abort; the caller then does nothing.
PA_COLD void misuse_pointer(Caller caller, const void* p);

// Whether a block of the pool is free, wherever it is on its way to a list; if so, says so as above. Any thread, no
// lock held.
PA_COLD bool misuse_is_double_free(Caller caller, BlockPool* pool, const Block* block);
inline bool is_double_free(Caller caller, BlockPool* pool, const void* p) {
  const Block* block = static_cast<const Block*>(p);
  return PA_UNLIKELY(block_is_linked(block)) && misuse_is_double_free(caller, pool, block);
}

// Counts a misuse of memory, and sends the message about it as the policy says, with what is known of the guarded
// block, if it is one. Returns unless that is to abort. No lock held.
PA_COLD void misuse_say(Lines& message, const GuardView* guarded = nullptr);
// Begins a message: "FUNCTION: ADDRESS is ".
Lines& misuse_begin(Lines& message, Caller caller, const void* p);
// What more than one kind of block has to say: a block of so many bytes was free already; the pointer is in one that
// begins at `start`; the free block at p was written to, its size 0 if it is not known.
PA_COLD void misuse_free_already(Caller caller, const void* p, size_t size, const GuardView* guarded = nullptr);
Lines& misuse_inside(Lines& message, const void* start, size_t size);
PA_COLD void misuse_written_free(const void* p, size_t size);

// `p`, an address in the guard's region, is not the start of a block that is in use there; `about` is what is known of
// the nearest one.
PA_COLD void misuse_guarded(Caller caller, const void* p, const GuardView& about);
// Around the guarded block at p, which is being freed, the byte at `where` was written to.
PA_COLD void misuse_guarded_overrun(Caller caller, const void* p, uintptr_t where, const GuardView& about);

// Gives up a pool's broken list: its blocks are lost. Says so when no lock is held any more. The owner, or for a heap
// without one.
PA_COLD void pool_give_up(BlockPool* pool);
// The same of messages in a mailbox (remote.h), and of a metered list (sample.h), whose first broken block is `block`.
PA_COLD void links_give_up(const Block* block);

// What the calling thread has given up and not yet said so.
struct MisuseNote {
  const void* block;  // nullptr: nothing
  size_t size;        // 0: not known
};
extern __thread MisuseNote misuse_note;
PA_COLD void misuse_report_slow();
// At the end of slow paths, with no lock held: says it.
inline void misuse_report() {
  if (PA_UNLIKELY(misuse_note.block != nullptr)) misuse_report_slow();
}

// How often there was what is certain, and how often a foreign pointer.
struct MisuseCounts {
  Atomic<uint64_t> certain, foreign;
};
extern constinit MisuseCounts misuse_counts;
inline uint64_t misuse_count() { return misuse_counts.certain.load_relaxed(); }
inline uint64_t foreign_count() { return misuse_counts.foreign.load_relaxed(); }

}  // namespace poolalloc
