// How much free memory to keep: as much as has lately been needed again soon.
//
// The level is the number of free slices that have been used before, whether their memory is still
// there or was given back. When a program takes slices again, the level falls; how deep it falls below
// its recent high is the memory it would have been right to keep. So:
//
//   draw     the deepest such fall, halved for every window of time that passes
//   budget   a floor, a share of what is in use, and the draw
//
// A peak that is not repeated causes no draw, and is given back while it is freed; a saw-tooth has a
// draw of its height after the first repetition, and keeps its memory from then on, until it stops.
//
// Always holds: pure arithmetic on the numbers it is told, so a test can replay any history.
// Synchronization: fields are atomic so that any thread may note; two that do so at once may lose one
// of the two observations, which the next one repeats.
// Who may use it: chunk.
#pragma once

#include "base/atomic.h"
#include "base/constants.h"

namespace poolalloc {

struct Retention {
  Atomic<int64_t> high;           // highest level in the current window, slices
  Atomic<int64_t> previous_high;  // and in the window before
  Atomic<int64_t> draw;           // slices
  Atomic<uint64_t> window_start;  // ms
};

inline constexpr int64_t kRetentionWindow_ms = 1000;
// Never purged for: 16 MiB; a purge that starts above it stops at half of it.
inline constexpr int64_t kRetentionFloor = int64_t{16} << (20 - kSliceShift);
// Distance between where a purge starts and where it stops, so that purges are few: at most 8 MiB.
inline constexpr int64_t kRetentionStep = int64_t{8} << (20 - kSliceShift);

inline int64_t higher(int64_t a, int64_t b) { return a > b ? a : b; }

// Notes the level at a time; called whenever slices are claimed or released.
inline void retention_note(Retention& r, int64_t level, uint64_t now_ms) {
  uint64_t start = r.window_start.load_relaxed();
  int64_t elapsed = int64_t(now_ms - start);  // negative: another thread has read the clock later
  if (elapsed >= kRetentionWindow_ms && r.window_start.cas_weak_relaxed(start, now_ms)) {
    int64_t windows = elapsed / kRetentionWindow_ms;
    r.previous_high.store_relaxed(windows == 1 ? r.high.load_relaxed() : level);
    r.high.store_relaxed(level);
    r.draw.store_relaxed(windows < 63 ? r.draw.load_relaxed() >> windows : 0);
  }
  if (level > r.high.load_relaxed()) r.high.store_relaxed(level);
  int64_t fall = higher(r.high.load_relaxed(), r.previous_high.load_relaxed()) - level;
  if (fall > r.draw.load_relaxed()) r.draw.store_relaxed(fall);
}

// Dirty free slices that may be kept while `in_use` slices are used.
inline int64_t retention_budget(const Retention& r, int64_t in_use) {
  return kRetentionFloor + in_use / 16 + r.draw.load_relaxed();
}

// Where a purge that has started stops.
inline int64_t retention_target(int64_t budget) { return budget - kRetentionStep; }

static_assert(kRetentionStep < kRetentionFloor);

}  // namespace poolalloc
