// What a trace works on: lanes, the slots that they share, heaps, and what is known of all of them.
//
// A lane is a thread's place: its slots stay when the thread ends, and the next one goes on with them. Steps are taken
// one after the other, each in its lane's thread, or, for a while, by all lanes at the same time (together).
//
// Always holds: a block in use is in one slot at most; while lanes are together each touches its own slots and those
// that are shared, and nothing else. Who may use it: the trace interpreter.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include <atomic>
#include <cstdlib>

#include "entry.h"
#include "poolalloc.hpp"
#include "shadow.h"
#include "trace.h"

namespace fuzz {

// --- Lanes ---------------------------------------------------------------------------------------------------

constexpr unsigned kHeaps = 4;
constexpr unsigned kPushedMost = 8;
constexpr unsigned kChains = 3;  // of a lane; the last one is an object of C++
constexpr unsigned kChainBlocks = 96;

// Which heaps a thread has pushed.
struct Pushed {
  uint8_t heaps[kPushedMost];
  unsigned depth;
};

struct ChainBlock {
  char* p;
  size_t size;
  uint64_t stamp;
  unsigned epoch;  // how many marks there were
};
struct Chain {
  poolalloc_pool pool;
  alignas(poolalloc::pool) char object[sizeof(poolalloc::pool)];
  bool is_object;
  bool is_there;
  unsigned count;
  ChainBlock blocks[kChainBlocks];
  bool has_mark;
  poolalloc_pool_mark mark;
  unsigned marked_count;

  poolalloc_pool* get() { return is_object ? reinterpret_cast<poolalloc::pool*>(object)->chain() : &pool; }
};

struct Lane {
  unsigned number;
  Block* slots[kSlots];
  Chain chains[kChains];
  Pushed own_pushed;
  Pushed* pushed;  // of the thread that runs it
  bool is_started;
  unsigned ended_releases;  // what its thread frees when its destructors run
  pthread_t thread;
  sem_t go, done;
  unsigned from, to;  // steps that it is to take; none: it is to end
};

struct ProgramHeapKnown {
  poolalloc_heap* heap;
  alignas(poolalloc::heap) char object[sizeof(poolalloc::heap)];
  bool is_object;
  size_t limit;  // 0: none
  char name[32];
  std::atomic<int64_t> blocks, bytes;

  poolalloc::heap& get() { return *reinterpret_cast<poolalloc::heap*>(object); }
};

struct World {
  Lane lanes[kLanes];
  std::atomic<Block*> shared[kShared];
  ProgramHeapKnown heaps[kHeaps];
  const Step* steps;
  unsigned step_count;
  bool is_together;
  bool is_child;              // of a fork in the trace
  unsigned direct;            // lanes whose steps the calling thread takes itself, as bits
  bool may_refuse;            // a limit is in force, so any request may be refused
  bool is_profiled;           // there has been a profile
  bool is_lost;               // where others were at work while this process was forked, nobody knows all blocks
  uint64_t misuses, foreign;  // as many as there must be
};
extern World world;
// The lane of the thread that leads.
inline Lane& leader() { return world.lanes[__builtin_ctz(world.direct)]; }

// What the process is like, and does not change.
struct Settings {
  bool is_hardened;
  bool has_guard;
  bool has_purge_thread;  // for which libc allocates a block when it starts
  char folder[200];       // for files
};
extern Settings settings;

// --- Operations ------------------------------------------------------------------------------------------------

enum class When : uint8_t {
  always,
  alone,    // not while lanes are together
  at_rest,  // alone, and in the thread that leads
};
struct Operation {
  const char* name;
  void (*run)(Lane& lane, const Step& step);
  When when;
  unsigned weight;
};

void do_allocate(Lane&, const Step&);
void do_release(Lane&, const Step&);
void do_release_others(Lane&, const Step&);
void do_resize(Lane&, const Step&);
void do_hand_over(Lane&, const Step&);
void do_check(Lane&, const Step&);
void do_fail(Lane&, const Step&);
void do_fail_new(Lane&, const Step&);
void do_misuse(Lane&, const Step&);
void do_heap_allocate(Lane&, const Step&);
void do_heap_new(Lane&, const Step&);
void do_heap_end(Lane&, const Step&);
void do_push(Lane&, const Step&);
void do_chain_allocate(Lane&, const Step&);
void do_chain_resize(Lane&, const Step&);
void do_chain_rewind(Lane&, const Step&);
void do_chain_end(Lane&, const Step&);
void do_ask(Lane&, const Step&);
void do_look(Lane&, const Step&);
void do_option(Lane&, const Step&);
void do_limit(Lane&, const Step&);
void do_profile(Lane&, const Step&);
void do_sleep(Lane&, const Step&);
void do_fork(Lane&, const Step&);
void do_end_thread(Lane&, const Step&);

// --- What operations share ----------------------------------------------------------------------------------------

constexpr int kErrno = 4711;
constexpr size_t kLiveMost = size_t{96} << 20;

// Whether a request may be refused for a limit: of the process, or of the program's heap that it is for.
bool may_refuse(unsigned heap, size_t size, size_t alignment);
// A request was refused; says so unless it may be.
void refused(unsigned heap, size_t size, size_t alignment, int error);
// The number of the heap, and one, that malloc of the lane's thread takes from.
inline unsigned heap_of_lane(const Lane& lane) {
  return lane.pushed->depth != 0 ? lane.pushed->heaps[lane.pushed->depth - 1] + 1u : 0;
}
// The size for the next block: small, if there is much already.
inline size_t affordable(size_t size) { return shadow_bytes + size > kLiveMost ? size % 256 : size; }

// Adds a block to the shadow and to its heap's account; the block must be in that heap. And the other way round, with
// the block's bytes checked first.
Block* block_add(void* p, const Block& about);
void block_remove(Block* block);
void heap_count(unsigned heap, int64_t blocks, int64_t bytes);
// Frees a block in one of the ways that suit it.
void block_free(Block* block, unsigned how);
// Where a trace's thread may leave a file.
const char* scratch_path(const char* name);

// What belongs to the libraries and to libFuzzer counts as live, too: it is looked at before the trace.
void look_begin();
// Everything that is known of the process is as the shadow has it.
void look_at_all();
// Options as they were when the process started; before all else, and after the trace.
void options_note();
void options_restore();
void handlers_install();
// What the handler of requests that fail would free; nullptr: nothing.
const void* reserve_block();
// Lines that the library says are expected from here on, or not.
void messages_expect(bool is_expected);
// How many there were.
unsigned messages_count();
// Says so if there was one that was not expected.
void messages_check();
void figures_misuses(uint64_t* certain, uint64_t* foreign);

void heaps_end_all();
void chains_end(Lane& lane);
void chains_check(Lane& lane);
void thread_pops_all(Pushed& pushed);

// Steps [from, to), from the thread that leads.
void run_range(unsigned from, unsigned to);
// Everything is freed, and looked at: the trace is over.
void end_all();
bool lane_start(Lane& lane);
void lane_end(Lane& lane);

}  // namespace fuzz
