// Laws of retention (chunk/retention.h): histories of the level of free slices are replayed, and the
// budget must follow what was needed again.
//
// Always holds: time is the test's own.
#include "chunk/retention.h"

#include <gtest/gtest.h>

namespace poolalloc {
namespace {

constexpr int64_t kGiB = int64_t{1} << (30 - kSliceShift);  // slices

class RetentionTest : public testing::Test {
 protected:
  // The level moves to `level` in `steps` notes within `ms`.
  void move_to(int64_t level, uint64_t ms, int steps = 16) {
    int64_t from = level_;
    for (int i = 1; i <= steps; i++) {
      level_ = from + (level - from) * i / steps;
      retention_note(retention, level_, now_ += ms / uint64_t(steps));
    }
  }
  int64_t draw() { return retention.draw.load_relaxed(); }

  Retention retention{};
  int64_t level_ = 0;
  uint64_t now_ = 100000;
};

TEST_F(RetentionTest, TheFloorIsAlwaysKept) {
  EXPECT_EQ(retention_budget(retention, 0), kRetentionFloor);
  EXPECT_GT(retention_target(retention_budget(retention, 0)), 0);
}

TEST_F(RetentionTest, AShareOfWhatIsInUseIsKept) {
  int64_t more = retention_budget(retention, kGiB) - retention_budget(retention, 0);
  EXPECT_GT(more, 0);
  EXPECT_LE(more, kGiB / 4);
}

TEST_F(RetentionTest, APeakThatIsNotRepeatedEarnsNothing) {
  move_to(kGiB, 500);
  EXPECT_EQ(draw(), 0);
  move_to(kGiB, 10000);
  EXPECT_EQ(draw(), 0);
}

TEST_F(RetentionTest, ASawToothEarnsItsHeightAtItsFirstRepetition) {
  move_to(kGiB, 400);
  move_to(0, 400);
  EXPECT_EQ(draw(), kGiB);
  for (int i = 0; i < 20; i++) {
    move_to(kGiB, 400);
    EXPECT_GE(draw(), kGiB / 2);
    move_to(0, 400);
    EXPECT_EQ(draw(), kGiB);
  }
}

TEST_F(RetentionTest, WithoutRepetitionTheBudgetHalvesWithEachWindow) {
  move_to(kGiB, 400);
  move_to(0, 400);
  // The fall counts as recent for one more window.
  for (unsigned windows = 1; windows < 20; windows++) {
    now_ += kRetentionWindow_ms;
    retention_note(retention, level_, now_);
    ASSERT_LE(draw(), kGiB >> (windows - 1));
  }
  EXPECT_EQ(draw(), 0);
}

TEST_F(RetentionTest, ALongSilenceForgetsAtOnce) {
  move_to(kGiB, 400);
  move_to(0, 400);
  now_ += 1000 * kRetentionWindow_ms;
  retention_note(retention, 0, now_);
  EXPECT_EQ(draw(), 0);
}

TEST_F(RetentionTest, AFallAfterALongSilenceCountsFromTheLevelThen) {
  move_to(kGiB, 400);
  now_ += 1000 * kRetentionWindow_ms;
  move_to(kGiB / 2, 16);
  EXPECT_LE(draw(), kGiB / 2);
}

TEST_F(RetentionTest, SmallSwingsEarnLittle) {
  move_to(kGiB, 400);
  for (int i = 0; i < 50; i++) {
    move_to(kGiB - 10, 100);
    move_to(kGiB, 100);
  }
  EXPECT_EQ(draw(), 10);
}

}  // namespace
}  // namespace poolalloc
