// Laws of retention (chunk/retention.h): histories of the level of free slices are replayed, and the
// budget must follow what was needed again.
//
// Always holds: time is the test's own.
#include "chunk/retention.h"

#include <gtest/gtest.h>

namespace poolalloc {
namespace {

constexpr int64_t kMiB = int64_t{1} << (20 - kSliceShift);  // slices
constexpr int64_t kGiB = 1024 * kMiB;

// A program and a memory that follows the budget at once.
class RetentionTest : public testing::Test {
 protected:
  // Claims (count > 0) or releases slices, evenly over `ms`, in steps of a MiB.
  void change(int64_t count, uint64_t ms) {
    int64_t steps = (count < 0 ? -count : count) / kMiB;
    for (int64_t i = 1; i <= steps; i++) {
      now_us_ += ms * 1000 / uint64_t(steps);
      count > 0 ? claim(kMiB) : release(kMiB);
    }
  }
  void wait(uint64_t ms) { now_us_ += ms * 1000; }
  int64_t budget() { return retention_budget(retention, in_use); }
  int64_t resident() { return in_use + dirty; }

  Retention retention{};
  int64_t in_use = 0;
  int64_t dirty = 0;   // free and resident
  int64_t clean = 0;   // free, used before and given back
  int64_t purged = 0;  // in all

 private:
  void claim(int64_t count) {
    int64_t from_dirty = lower(dirty, count);
    int64_t from_clean = lower(clean, count - from_dirty);
    dirty -= from_dirty;
    clean -= from_clean;
    in_use += count;
    retention_note_claim(retention, count, from_clean, in_use, dirty + clean, now_us_ / 1000);
  }
  void release(int64_t count) {
    in_use -= count;
    dirty += count;
    retention_note_release(retention, count, in_use, dirty + clean, now_us_ / 1000);
    if (dirty <= budget()) return;
    int64_t excess = dirty - retention_target(budget());
    dirty -= excess;
    clean += excess;
    purged += excess;
  }

  uint64_t now_us_ = 100'000'000;
};

TEST_F(RetentionTest, TheFloorIsAlwaysKept) {
  EXPECT_EQ(budget(), kRetentionFloor);
  EXPECT_GT(retention_target(budget()), 0);
  change(8 * kMiB, 10);
  change(-8 * kMiB, 10);
  EXPECT_EQ(purged, 0);
}

TEST_F(RetentionTest, APeakIsGivenBackWhileItIsFreed) {
  change(kGiB, 500);
  change(-kGiB * 3 / 4, 100);
  EXPECT_LE(resident(), kGiB * 2 / 3);
  change(-kGiB / 4, 50);
  EXPECT_LE(resident(), 32 * kMiB);
}

TEST_F(RetentionTest, ASawToothKeepsItsMemoryAfterItsFirstRepetition) {
  for (uint64_t ms : {50, 400}) {
    for (int round = 0; round < 20; round++) {
      if (round == 2) purged = 0;
      change(kGiB, ms);
      change(-kGiB, ms);
    }
    EXPECT_LE(purged, 32 * kMiB) << ms;
  }
}

TEST_F(RetentionTest, AProgramThatStopsTakingMemoryLosesItsClaimToIt) {
  for (int round = 0; round < 4; round++) {
    change(kGiB, 100);
    change(-kGiB, 100);
  }
  EXPECT_GE(budget(), kGiB / 2);
  // It goes on with little.
  for (int second = 0; second < 20; second++) {
    wait(1000);
    change(kMiB, 1);
    change(-kMiB, 1);
  }
  EXPECT_LE(resident(), 32 * kMiB);
}

TEST_F(RetentionTest, ALongSilenceForgetsAtOnce) {
  for (int round = 0; round < 4; round++) {
    change(kGiB, 100);
    change(-kGiB, 100);
  }
  wait(100'000);
  change(kMiB, 1);
  change(-kMiB, 1);
  EXPECT_LE(resident(), 32 * kMiB);
}

TEST_F(RetentionTest, ALoopThatReleasesAsMuchAsItClaimsPurgesNothing) {
  change(256 * kMiB, 100);
  for (int i = 0; i < 500; i++) {
    change(-64 * kMiB, 1);
    change(64 * kMiB, 1);
  }
  EXPECT_EQ(purged, 0);
}

TEST_F(RetentionTest, GrowthEarnsNothingOnceItStops) {
  change(kGiB, 1000);
  for (int second = 0; second < 5; second++) {
    wait(1000);
    change(-kMiB, 1);
    change(kMiB, 1);
  }
  EXPECT_LE(budget(), kRetentionFloor + kGiB / 16 + 2 * kMiB);
}

}  // namespace
}  // namespace poolalloc
