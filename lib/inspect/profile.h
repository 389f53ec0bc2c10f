// The profile of the heap: which calls have allocated how much, and how much of that is in use, by samples.
//
// A sample is a block (heap/profiled.h) with the stack of calls that allocated it, and a weight: for how many blocks of
// its size it stands, the inverse of its chance. Sums of weights are estimates without bias.
//
// The equations, for each stack:
//   made   the sum of all its samples since the profile began
//   live   that of its samples which are in use: exactly 0 when there are none
//   peak   what live was when the sum over all stacks was at its highest, to one per cent
//   lost   the part of live that nothing points to, once somebody has looked (leaks.h)
//
// Always holds: a stack's record never goes; nothing is allocated but from the kernel; without memory a sample is left
// out, and counted. A forked child goes on with what its parent knew.
//
// Synchronization: profile_lock; samples come and go in every thread. Who may use it: inspect and api.
#pragma once

#include "heap/profiled.h"

namespace poolalloc {

struct ProfileSum {
  double blocks, bytes;
};

struct ProfileStack {
  ProfileStack* next;   // in its bucket
  ProfileStack* older;  // of all stacks
  uint64_t hash;
  unsigned frame_count;
  unsigned live_samples;
  ProfileSum made, live, peak, lost;

  // Return addresses, the innermost call first. They follow the record.
  uintptr_t* frames() { return reinterpret_cast<uintptr_t*>(this + 1); }
  const uintptr_t* frames() const { return reinterpret_cast<const uintptr_t*>(this + 1); }
};

struct ProfiledBlock {
  ProfiledBlock* next;    // in its bucket, or among the unused
  uintptr_t not_address;  // its complement: the profile points to no block (leaks.h)
  size_t size;            // what was asked for, bytes
  double weight;
  ProfileStack* stack;
  const ProgramHeap* heap;  // of the program's; nullptr: none
  uint32_t generation;      // which profile it is of

  uintptr_t address() const { return ~not_address; }
};

struct Profile {
  uint64_t interval;  // mean number of bytes from sample to sample; 0: there has been no profile
  uint64_t started_ms, stopped_ms;
  ProfileStack* newest;
  size_t block_count;
  ProfileSum live;
  double peak_bytes;   // of all stacks
  double noted_bytes;  // live bytes when profile_on_high was called last
  uint64_t left_out;   // samples for which there was no memory
  bool has_lost;       // somebody has looked for what nothing points to
};
// Under profile_lock.
extern constinit Profile profile;

// Samples one block in about so many bytes from now on; 1: every block. A profile that goes on keeps what it knows, a
// new one begins without. False: no memory.
bool profile_start(uint64_t interval);
// No further samples. What is freed is noticed still.
void profile_stop();
// Whether there are samples now.
inline bool profile_is_on() { return sample_bytes.interval.load_relaxed() != 0; }

// Called, with no lock held, when a quarter more is in use than ever at the last call; nullptr: nobody. Set once.
extern constinit Atomic<void (*)()> profile_on_high;

// Holds profile_lock, unless this thread has it already, or a fork has lost the profile.
class ProfileHeld {
 public:
  ProfileHeld();
  ~ProfileHeld();
  ProfileHeld(const ProfileHeld&) = delete;
  ProfileHeld& operator=(const ProfileHeld&) = delete;
  explicit operator bool() const { return is_held_; }

 private:
  SignalsBlocked blocked_;
  const bool is_held_;
};

// What the stacks hold is the peak if it is one. profile_lock held.
void profile_note_peak();

// Where blocks are found by their address.
struct ProfileTable {
  ProfiledBlock** buckets;
  size_t bucket_count;
};
extern constinit ProfileTable profile_table;

// Calls visit(block) for each block that is a sample and in use. profile_lock held.
template <typename Visit>
void profiled_blocks_each(Visit visit) {
  for (size_t i = 0; i < profile_table.bucket_count; i++) {
    for (ProfiledBlock* block = profile_table.buckets[i]; block != nullptr; block = block->next) visit(*block);
  }
}

}  // namespace poolalloc
