// What a shard does for one request, and heaps of the program (shard.h).
//
// Who may use it: through shard.h.
#include <errno.h>
#include <stdlib.h>

#include "own.h"
#include "shard.h"

namespace {

// A buffer that grows until it has what the request asks for.
Held fill_buffer(Random& random) {
  const size_t most = random.below(400) == 0 ? log_uniform(random, 65536, 2 << 20) : log_uniform(random, 512, 32768);
  Held buffer = block_take(256, random);
  for (unsigned step = 0; buffer.size < most && step < 40 && buffer.p != nullptr; step++)
    block_resize(buffer, buffer.size + buffer.size / 2 + random.below(256));
  // What is too much is given up.
  if (random.below(4) == 0) block_resize(buffer, most / 2 + 1);
  return buffer;
}

// One block of some session is looked at, and another one is replaced or changes its size.
void touch_a_session(Shard& shard) {
  const unsigned index = unsigned(shard.random.below(shard.session_count));
  if (shard.session_ends[index] == 0) return;
  Session& session = shard.sessions[index];
  block_check(session.blocks[shard.random.below(session.count)]);
  Held& block = session.blocks[shard.random.below(session.count)];
  if (shard.random.below(2) == 0) return block_resize(block, small_size(shard.random));
  block_drop(block);
  block = block_take(small_size(shard.random), shard.random);
}

// Strings go to other threads, which read and free them; some they keep for a while.
void exchange(Shard& shard) {
  for (uint64_t count = shard.random.below(3); count > 0; count--) {
    Held text = block_take(16 + shard.random.below(200), shard.random);
    Shard& to = service.shards[shard.random.below(service.shard_count)];
    if (shard.is_alone) {
      block_drop(text);
    } else {
      inbox_put(to.inbox, text);
    }
  }
  for (uint64_t count = shard.random.below(4); count > 0 && !shard.is_alone; count--) {
    Held text = inbox_get(shard.inbox);
    block_drop(text);
  }
}

}  // namespace

void answer(Shard& shard, uint64_t tick) {
  constexpr unsigned kBriefMost = 24;
  Random& random = shard.random;
  Held brief[kBriefMost];
  const unsigned count = 4 + unsigned(random.below(kBriefMost - 3));
  for (unsigned i = 0; i < count; i++) brief[i] = block_take(small_size(random), random);
  Held buffer = fill_buffer(random);
  touch_a_session(shard);
  exchange(shard);
  for (unsigned i = count; i > 0; i--) {
    const unsigned other = unsigned(random.below(i));
    block_drop(brief[other]);
    brief[other] = brief[i - 1];
  }
  // Some answers wait for others: what waited there before is done.
  if (random.below(8) == 0) {
    Held& place = shard.pending[(random.next() ^ tick) % kPending];
    Held before = place;
    place = buffer;
    buffer = before;
  }
  block_drop(buffer);
}

// --- Heaps of the program ----------------------------------------------------------------------------------------

namespace {

void check_figures(const poolalloc_heap* heap, const Tally& mine, const char* law) {
  poolalloc_heap_stats stats{};
  poolalloc_heap_stats_get(heap, &stats, sizeof stats);
  if (int64_t(stats.live_blocks) != mine.blocks || (sizes_are_known() && int64_t(stats.live_bytes) != mine.bytes))
    violated(law, heap, stats.live_bytes);
}

poolalloc_heap* heap_make(const char* name, size_t limit) {
  if (&poolalloc_heap_new == nullptr) return nullptr;
  const bool may_fail = may_refuse.load();
  poolalloc_heap_options options{sizeof options, name, limit};
  poolalloc_heap* heap = poolalloc_heap_new(&options);
  if (heap == nullptr && !may_fail && !may_refuse.load()) violated("no heap", nullptr, 0);
  if (heap != nullptr) service.heaps_made.fetch_add(1, std::memory_order_relaxed);
  return heap;
}

// A block of the heap, where there is room for it.
Held heap_take(poolalloc_heap* heap, size_t size) {
  self->operations++;
  errno = 0;
  void* p = poolalloc_heap_alloc(heap, size);
  if (p != nullptr) return block_adopt(p, size, 16);
  if (errno != ENOMEM) violated("a heap refuses with another errno than ENOMEM", heap, size_t(errno));
  return {nullptr, 0, 0};
}

}  // namespace

void use_a_heap(Shard& shard) {
  constexpr unsigned kBlocks = 50;
  constexpr size_t kLimit = 256 * kKiB;
  poolalloc_heap* heap = heap_make("request", kLimit);
  if (heap == nullptr) return;
  Held blocks[kBlocks];
  Tally mine{};
  const bool is_pushed = shard.random.below(2) == 0;
  if (is_pushed && poolalloc_heap_push(heap) != 0) violated("cannot be pushed", heap, 0);
  for (Held& each : blocks) {
    each = is_pushed ? block_take(small_size(shard.random), shard.random) : heap_take(heap, small_size(shard.random));
    mine.add(each.size, each.p != nullptr);
  }
  if (is_pushed) poolalloc_heap_pop();
  check_figures(heap, mine, "the heap's figures after its blocks were made");
  // Its limit holds, whoever asks.
  Held more = heap_take(heap, kLimit);
  if (more.p != nullptr) violated("above the heap's limit", more.p, more.size);
  service.heap_refusals.fetch_add(1, std::memory_order_relaxed);
  for (unsigned i = 0; i < kBlocks; i += 3) {
    mine.add(blocks[i].size, -int(blocks[i].p != nullptr));
    block_drop(blocks[i]);
  }
  check_figures(heap, mine, "the heap's figures after some were freed");
  for (Held& each : blocks) block_forget(each);
  poolalloc_heap_delete(heap);
}

void day_heap_use(Shard& shard) {
  if (shard.heap == nullptr) shard.heap = heap_make("day", 0);
  if (shard.heap == nullptr) return;
  Held& held = shard.day[shard.random.below(kDay)];
  const size_t size = shard.random.below(32) == 0 ? 100000 : small_size(shard.random);
  if (held.p == nullptr) {
    held = heap_take(shard.heap, size);
    if (held.p == nullptr && !may_refuse.load()) violated("refused by a heap", shard.heap, size);
  } else if (shard.random.below(2) == 0) {
    block_resize(held, size);
  } else {
    block_drop(held);
  }
  if (shard.random.below(16) != 0) return;
  Tally mine{};
  for (const Held& each : shard.day) mine.add(each.size, each.p != nullptr);
  check_figures(shard.heap, mine, "the figures of the day's heap");
}

void day_heap_end(Shard& shard) {
  if (shard.heap == nullptr) return;
  for (Held& each : shard.day) block_forget(each);
  poolalloc_heap_delete(shard.heap);
  shard.heap = nullptr;
}
