// How much free memory to keep: as much as is likely to be needed again soon.
//
//   budget = a floor, or a share of what is in use if that is more, + churn + regret
//
//   churn    what has been claimed lately, forgotten in step with what is released: a program that goes on
//            claiming while it releases keeps up to as much as it uses; one that only releases keeps less
//            and less, so a peak is given back while it is freed
//   regret   what was given back and then needed again, less a quarter of what was given back since. It lasts as long
//            as the program goes on taking as much: the level of free memory that has been used before, dirty or
//            not, falls when they are taken; the deepest such fall below the level's recent high, the draw, is
//            halved for every window of time that passes, and regret is never more than it
//
// Churn and regret count only while the program claims more than a certain volume in a window of time: what is taken
// up more slowly costs little time when it comes from the kernel each time, less than the memory is worth. In a
// process's first window, when that is not known yet, regret counts.
//
// So a saw-tooth keeps its memory after the first repetition, until it stops.
//
// Always holds: pure arithmetic on the numbers it is told, so a test can replay any history.
// Synchronization: fields are atomic so that any thread may note; two that do so at once may lose one
// of the two observations, which moves a budget a little.
// Who may use it: chunk.
#pragma once

#include "base/atomic.h"
#include "base/bits.h"
#include "base/constants.h"

namespace poolalloc {

// What the user may set. Synchronization: set once at start-up; until then the defaults hold.
struct RetentionPolicy {
  Atomic<int64_t> floor;    // of the budget, bytes
  Atomic<int64_t> ceiling;  // of the budget, bytes
  Atomic<int64_t> soft;     // limit of what is in use and of what is free and dirty, together, bytes
  Atomic<int64_t> hard;     // the same; allocation fails above it
};

struct Retention {
  Atomic<int64_t> high;             // highest level in the current window, bytes
  Atomic<int64_t> previous_high;    // and in the window before
  Atomic<int64_t> draw;             // bytes
  Atomic<int64_t> regret;           // bytes
  Atomic<int64_t> churn;            // bytes
  Atomic<uint64_t> needed_again;    // bytes that had been given back and were claimed, in all
  Atomic<uint64_t> window_start;    // ms
  Atomic<int64_t> volume;           // bytes claimed in the current window
  Atomic<int64_t> previous_volume;  // in the one before; or half of what it was before that, if that is more
  Atomic<uint32_t> window_count;    // windows that began, the current one included
};

inline constexpr int64_t kRetentionWindow_ms = short_if_chaos(1000, 12);
// The volume of claims in a window that is not worth keeping memory for: 128 MiB, which the kernel provides in a
// twentieth of a second, in small pages.
inline constexpr int64_t kCheapVolume = int64_t{128} << 20;
inline constexpr int64_t kUnlimited = INT64_MAX;
// Never purged for, unless the user says otherwise: 16 MiB; a purge that starts above it stops at half of it.
inline constexpr int64_t kRetentionFloor = int64_t{16} << 20;
// Distance between where a purge starts and where it stops, so that purges are few: at most 8 MiB.
inline constexpr int64_t kRetentionStep = int64_t{8} << 20;

inline constexpr RetentionPolicy kDefaultPolicy{{kRetentionFloor}, {kUnlimited}, {kUnlimited}, {kUnlimited}};

inline int64_t higher(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t lower(int64_t a, int64_t b) { return a < b ? a : b; }

// The most that churn can be, and the volume of releases that makes it forget most.
inline int64_t retention_churn_max(int64_t in_use) { return higher(in_use, kRetentionFloor); }

inline void retention_sink(Atomic<int64_t>& value, int64_t by) {
  value.store_relaxed(higher(value.load_relaxed() - by, 0));
}

// Notes the level at a time.
inline void retention_note(Retention& r, int64_t level, uint64_t now_ms) {
  uint64_t start = r.window_start.load_relaxed();
  int64_t elapsed = int64_t(now_ms - start);  // negative: another thread has read the clock later
  if (elapsed >= kRetentionWindow_ms && r.window_start.cas_weak_relaxed(start, now_ms)) {
    int64_t windows = elapsed / kRetentionWindow_ms;
    r.previous_high.store_relaxed(windows == 1 ? r.high.load_relaxed() : level);
    r.high.store_relaxed(level);
    int64_t volume = windows == 1 ? r.volume.load_relaxed() : 0;
    int64_t before = windows < 63 ? r.previous_volume.load_relaxed() >> windows : 0;
    r.previous_volume.store_relaxed(higher(volume, before));
    r.volume.store_relaxed(0);
    r.window_count.store_relaxed(r.window_count.load_relaxed() + 1);
    // What the window that ends has drawn is what may be kept on account of it.
    int64_t draw = windows < 63 ? r.draw.load_relaxed() >> (windows - 1) : 0;
    r.regret.store_relaxed(lower(r.regret.load_relaxed(), draw));
    r.churn.store_relaxed(lower(r.churn.load_relaxed(), draw));
    r.draw.store_relaxed(draw >> 1);
  }
  if (level > r.high.load_relaxed()) r.high.store_relaxed(level);
  int64_t fall = higher(r.high.load_relaxed(), r.previous_high.load_relaxed()) - level;
  if (fall > r.draw.load_relaxed()) r.draw.store_relaxed(fall);
}

// Notes that `count` bytes were claimed, of which `given_back` had been purged; in_use and level as they are now.
inline void retention_note_claim(Retention& r, int64_t count, int64_t given_back, int64_t in_use, int64_t level,
                                 uint64_t now_ms) {
  retention_note(r, level, now_ms);
  r.volume.store_relaxed(r.volume.load_relaxed() + count);
  r.churn.store_relaxed(lower(r.churn.load_relaxed() + count, retention_churn_max(in_use)));
  if (given_back == 0) return;
  r.needed_again.store_relaxed(r.needed_again.load_relaxed() + uint64_t(given_back));
  r.regret.store_relaxed(lower(r.regret.load_relaxed() + given_back, r.draw.load_relaxed()));
}

// Notes that `count` bytes were released.
inline void retention_note_release(Retention& r, int64_t count, int64_t in_use, int64_t level, uint64_t now_ms) {
  retention_note(r, level, now_ms);
  __int128 share = __int128{r.churn.load_relaxed()} * count / retention_churn_max(in_use);
  // Whole slices, and one at least, so that churn ends.
  retention_sink(r.churn, int64_t(round_up(size_t(share) + 1, kSliceSize)));
}

// Notes that `count` bytes are about to be given back, or more if the budget is less then: what is free goes beyond
// what was needed again before.
inline void retention_note_purge(Retention& r, int64_t count) { retention_sink(r.regret, count / 4); }

// Dirty free memory that may be kept while `in_use` bytes are used.
inline int64_t retention_budget(const Retention& r, int64_t in_use, const RetentionPolicy& policy = kDefaultPolicy) {
  const bool is_busy = higher(r.volume.load_relaxed(), r.previous_volume.load_relaxed()) > kCheapVolume;
  int64_t earned = 0;
  if (is_busy) earned = r.churn.load_relaxed();
  if (is_busy || r.window_count.load_relaxed() <= 1) earned += r.regret.load_relaxed();
  int64_t least = higher(policy.floor.load_relaxed(), in_use / 16);
  int64_t budget = least < kUnlimited - earned ? least + earned : kUnlimited;
  int64_t below_soft = higher(policy.soft.load_relaxed() - in_use, 0);
  return lower(lower(budget, policy.ceiling.load_relaxed()), below_soft);
}

// Where a purge that has started stops.
inline int64_t retention_target(int64_t budget) { return budget - lower(kRetentionStep, budget / 2); }

}  // namespace poolalloc
