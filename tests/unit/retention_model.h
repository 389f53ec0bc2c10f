// A made-up program and a memory that follows the retention policy (chunk/retention.h) at once.
//
// Always holds: time is the model's own, so that any history can be replayed; amounts are bytes.
// Who may use it: retention_test.cc and the program that draws histories (tests/bench/policy).
#pragma once

#include "chunk/retention.h"

namespace poolalloc::test {

inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr int64_t kGiB = 1024 * kMiB;

class RetentionModel {
 public:
  // Claims (count > 0) or releases bytes, evenly over `ms`, in steps of a MiB.
  void change(int64_t count, uint64_t ms) {
    int64_t steps = (count < 0 ? -count : count) / kMiB;
    for (int64_t i = 1; i <= steps; i++) {
      now_us += ms * 1000 / uint64_t(steps);
      count > 0 ? claim(kMiB) : release(kMiB);
    }
  }
  void wait(uint64_t ms) { now_us += ms * 1000; }
  int64_t budget() const { return retention_budget(retention, in_use); }
  int64_t resident() const { return in_use + dirty; }

  virtual ~RetentionModel() = default;

  Retention retention{};
  int64_t in_use = 0;
  int64_t dirty = 0;   // free and resident
  int64_t clean = 0;   // free, used before and given back
  int64_t purged = 0;  // in all
  uint64_t now_us = 100'000'000;

 protected:
  virtual void step_made() {}

 private:
  void claim(int64_t count) {
    int64_t from_dirty = lower(dirty, count);
    int64_t from_clean = lower(clean, count - from_dirty);
    dirty -= from_dirty;
    clean -= from_clean;
    in_use += count;
    retention_note_claim(retention, count, from_clean, in_use, dirty + clean, now_us / 1000);
    step_made();
  }
  void release(int64_t count) {
    in_use -= count;
    dirty += count;
    retention_note_release(retention, count, in_use, dirty + clean, now_us / 1000);
    if (dirty > budget()) {
      retention_note_purge(retention, dirty - retention_target(budget()));
      int64_t excess = dirty - retention_target(budget());
      dirty -= excess;
      clean += excess;
      purged += excess;
    }
    step_made();
  }
};

}  // namespace poolalloc::test
