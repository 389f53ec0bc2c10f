// How much is in use (usage.h).
//
// Who may use it: through usage.h.
#include "heap/usage.h"

#include "base/policy.h"
#include "chunk/accounts.h"
#include "chunk/extent.h"
#include "heap/guard.h"
#include "heap/pool_walk.h"

namespace poolalloc {

constinit Atomic<bool> usage_tracked{false};
constinit Atomic<void (*)()> usage_on_sample{nullptr};
constinit UsageKept usage_kept{};

namespace {

constinit Atomic<int64_t> notes_until_sample{0};
constinit Atomic<uint64_t> peak_bytes{0};
constinit Atomic<uint64_t> peak_blocks{0};

}  // namespace

void usage_take_kept_out(Usage& usage) {
  if (!kHardened) return;
  auto take = [](uint64_t& figure, int64_t kept) {
    figure = int64_t(figure) > kept ? uint64_t(int64_t(figure) - kept) : 0;
  };
  const int64_t large_blocks = usage_kept.large_blocks.load_relaxed();
  const int64_t large_bytes = usage_kept.large_bytes.load_relaxed() + usage_kept.large_around.load_relaxed();
  take(usage.large_blocks, large_blocks);
  take(usage.large_bytes, large_bytes);
  take(usage.live_blocks, large_blocks + usage_kept.blocks.load_relaxed());
  take(usage.live_bytes, large_bytes + usage_kept.bytes.load_relaxed());
}

PA_COLD Usage usage_gather() {
  Usage usage{};
  {
    SharedLockGuard held(extents_lock);
    usage.live_bytes = usage.large_bytes = extent_totals().block_bytes;
    usage.live_blocks = usage.large_blocks = extent_totals().block_count;
  }
  pools_each([&](const PoolSeen& pool) {
    const size_t block_size = class_size(pool.size_class);
    usage.live_blocks += uint64_t(pool.live);
    usage.live_bytes += uint64_t(pool.live) * block_size;
    usage.free_bytes += uint64_t(pool.capacity - pool.live) * block_size;
  });
  usage.live_blocks += guard.alive.load_relaxed();
  usage.live_bytes += guard.alive_bytes.load_relaxed();
  usage_take_kept_out(usage);
  return usage;
}

void usage_sample_slow(size_t weight) {
  if (notes_until_sample.sub_relaxed(int64_t(weight)) > int64_t(weight)) return;
  // A walk looks at every slice: each note pays for some of them. What the peak misses is less than that part of it.
  constexpr int64_t kSlicesPerNote = 16;
  notes_until_sample.store_relaxed(accounts.in_use.load_relaxed() / (kSlicesPerNote * int64_t{kSliceSize}));
  usage_peak();
  if (auto on_sample = usage_on_sample.load_relaxed(); on_sample != nullptr) on_sample();
}

Usage usage_peak() {
  Usage usage = usage_gather();
  uint64_t seen = peak_bytes.load_relaxed();
  while (usage.live_bytes > seen) {
    if (!peak_bytes.cas_weak_relaxed(seen, usage.live_bytes)) continue;
    peak_blocks.store_relaxed(usage.live_blocks);
    break;
  }
  usage.live_bytes = peak_bytes.load_relaxed();
  usage.live_blocks = peak_blocks.load_relaxed();
  return usage;
}

Usage usage_peak_known() { return {peak_bytes.load_relaxed(), peak_blocks.load_relaxed(), 0, 0, 0}; }

}  // namespace poolalloc
