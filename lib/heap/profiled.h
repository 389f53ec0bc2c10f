// Blocks that a profile of the heap knows of (lib/inspect/profile.h): which malloc is one, and where it is told.
//
// A profile has a sample of blocks: each byte of what is allocated has the same chance to be the one that makes its
// block a sample (sample.h counts the bytes). Its free must not be missed, and the fast paths know nothing of it. So
// such a block comes from a program heap of the library's own, where every free comes by anyway; one of a heap that the
// program has made stays in that, which counts how many of its blocks the profile knows.
//
// Always holds: the visitor's functions are called with no lock held; a block's `made` comes before anybody has it, and
// its `taken` before anybody else can get it.
//
// Synchronization: profile_lock is the visitor's; a fork holds it. Who may use it: heap; inspect, which is the visitor.
#pragma once

#include "heap/sample.h"
#include "os/lock.h"

namespace poolalloc {

struct ProgramHeap;

// A block that is a sample.
struct ProfiledMalloc {
  const void* block;
  size_t size;              // what was asked for, bytes
  size_t counted;           // how many bytes had the chance
  const ProgramHeap* heap;  // of the program's; nullptr: none
};

struct ProfileVisitor {
  void (*made)(const ProfiledMalloc& made);
  // The block is about to go, or to change: what the profile has of it; nullptr: nothing.
  void* (*taken)(const void* block);
  // It has gone; or it has not, and is where it was.
  void (*gone)(void* taken);
  void (*stayed)(void* taken);
  // Another size was asked for, and the block has it already.
  void (*resized)(const void* block, size_t size);
  // All blocks of a heap are about to go.
  void (*emptied)(const ProgramHeap& heap);
};

extern constinit Lock profile_lock;
// In the child of a fork: a thread that is gone was changing what the lock protects.
extern constinit Atomic<bool> profile_is_lost;

// Whether there is a profile, or was: its blocks are about. Synchronization: set once, after the visitor.
extern constinit Atomic<const ProfileVisitor*> profile_visitor;
inline bool profile_is_known() { return PA_UNLIKELY(profile_visitor.load_relaxed() != nullptr); }

// Sees to it that samples are told; false: no memory. They begin with sample_start_bytes. One thread at a time.
bool profile_watch(const ProfileVisitor& visitor);

// --- For heap ------------------------------------------------------------------------------------------------

// A sample of a class, for the calling thread; nullptr: no memory.
void* profiled_alloc(unsigned size_class, size_t size);
// A block has been made that no list serves, and may be a sample: large, of no heap; or of a program heap, whose lock
// is not held. `counted`: the bytes that it takes.
void profiled_large_made(void* block, size_t size, size_t counted);
void profiled_program_made(ProgramHeap& heap, void* block, size_t size, size_t counted);
// A block of a program heap (nullptr: of none) is about to go, or to change; then, whether it has gone.
void* profiled_take(ProgramHeap* heap, const void* block);
void profiled_give(ProgramHeap& heap, void* taken, bool is_gone);
// All blocks of a heap are about to go.
void profiled_emptied(ProgramHeap& heap);
// Another size was asked for, and the block has it already. `heap` may be nullptr.
void profiled_resized(const ProgramHeap* heap, const void* block, size_t size);

}  // namespace poolalloc
