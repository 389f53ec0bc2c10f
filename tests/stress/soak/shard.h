// A part of the service: sessions, a cache, requests, logs, large blocks. Each does in a tick what the day asks for.
//
// Always holds: a shard is used by one thread at a time, but for its inbox, into which any thread puts blocks; where
// its memory comes from does not change what it does next. With a seed it does the same in each run, but for what lies
// in its inbox, and for the order in which threads run. Who may use it: the soak program.
#pragma once

#include "account.h"
#include "day.h"
#include "library.h"

constexpr unsigned kShards = 8;

// What a shard is at the service's full size, and its requests in a tick at full load.
constexpr unsigned kSessions = 4500, kSessionBlocks = 12, kKept = 2000, kPending = 16, kLogs = 16, kLarge = 6,
                   kDay = 256, kRequests = 60;
constexpr unsigned kCacheRing = 1 << 16, kBurstBlocks = 1 << 16, kInbox = 2048;
constexpr size_t kCacheSize = 16 << 20, kBurstSize = 32 << 20, kLogSize = 256 << 10;

// More than any limit on memory leaves.
constexpr size_t kTooMuch = 64 << 20;

struct Session {
  unsigned count;
  Held blocks[kSessionBlocks];
};

// First in, first out; one in twenty stays on.
struct Cache {
  Held* ring;
  unsigned room;  // entries
  unsigned first, count;
  size_t bytes;
};

// Blocks from other threads.
struct Inbox {
  pthread_mutex_t mutex;
  unsigned count;
  Held blocks[kInbox];
};

// What all shards have in common.
struct Service {
  Calendar calendar;
  size_t forgotten;  // bytes that each session loses: to see that it is noticed
  unsigned shard_count;
  struct Shard* shards;
  std::atomic<uint64_t> sessions_opened, handed_over, visitors, heaps_made, heap_refusals;
};
extern Service service;

struct Shard {
  uint64_t seed;
  Random random;
  Random daily;            // begins anew each day
  bool is_alone;           // it hands nothing to others: in a forked child
  Session* sessions;       // their number says how large all else is
  uint64_t* session_ends;  // 0: there is none
  unsigned* unused;        // indices of sessions
  unsigned unused_count;
  unsigned session_count;  // that there is room for
  Cache cache;
  Held* burst;
  unsigned burst_count, burst_room;
  size_t burst_bytes;
  Held* kept;
  unsigned kept_count, kept_most;
  Held pending[kPending];
  Held logs[kLogs];
  Held large[kLarge];
  uint64_t large_ends[kLarge];
  poolalloc_heap* heap;  // for a day
  Held day[kDay];        // its blocks
  Inbox inbox;
};

// `size` is a part of the service's.
void shard_init(Shard& shard, uint64_t seed, double size);
// One tick of work.
void shard_tick(Shard& shard, uint64_t tick);
// Looks at one block in `step`.
void shard_check(Shard& shard, unsigned step);
// Frees everything.
void shard_drop(Shard& shard);

// A thread that comes by: takes blocks from the inboxes, leaves others, and ends.
void visit(Random& random);

// A request (request.cc).
void answer(Shard& shard, uint64_t tick);
// A heap of the program, for the time of a call (request.cc).
void use_a_heap(Shard& shard);
// The heap of the day: one of its blocks comes, goes or changes its size; and all of them are gone (request.cc).
void day_heap_use(Shard& shard);
void day_heap_end(Shard& shard);

// From 16 bytes to 2 KiB, small ones more often.
size_t small_size(Random& random);
// From `least` to `most`, each doubling as likely as any other.
uint64_t log_uniform(Random& random, double least, double most);

void inbox_put(Inbox& inbox, Held& held);
// {nullptr, 0, 0}: it is empty.
Held inbox_get(Inbox& inbox);
