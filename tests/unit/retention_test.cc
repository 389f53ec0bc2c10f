// Laws of retention (chunk/retention.h): histories of the level of free memory are replayed, and the
// budget must follow what was needed again.
//
// Always holds: time is the test's own.
#include "retention_model.h"

#include <gtest/gtest.h>

namespace poolalloc {
namespace {

using test::kGiB;
using test::kMiB;

class RetentionTest : public testing::Test, protected test::RetentionModel {};

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

TEST_F(RetentionTest, ASmallSawToothKeepsItsMemoryFromTheStartOfAProcess) {
  // Too little for it to be known in the first window that much is claimed.
  for (int round = 0; round < 5; round++) {
    if (round == 2) purged = 0;
    change(24 * kMiB, 10);
    change(-24 * kMiB, 10);
  }
  EXPECT_EQ(purged, 0);
  // At one round a second it is not worth it.
  for (int second = 0; second < 10; second++) {
    if (second == 5) purged = 0;
    wait(1000);
    change(24 * kMiB, 10);
    change(-24 * kMiB, 10);
  }
  EXPECT_GT(purged, 5 * 8 * kMiB);
}

TEST_F(RetentionTest, WhatASwingHasEarnedDoesNotOutlastIt) {
  change(200 * kMiB, 100);
  for (int round = 0; round < 50; round++) {
    change(-64 * kMiB, 2);
    change(64 * kMiB, 2);
  }
  change(-200 * kMiB, 20);
  EXPECT_LE(resident(), 32 * kMiB);
}

// Also of one that goes on, and takes little at a time, but that often.
TEST_F(RetentionTest, WhatASwingHasEarnedDoesNotOutlastItInABusyProgram) {
  Retention r{};
  uint64_t now = 1000;
  retention_note(r, 400 * kMiB, now);
  retention_note_claim(r, 300 * kMiB, 200 * kMiB, 500 * kMiB, 100 * kMiB, ++now);
  ASSERT_EQ(r.regret.load_relaxed(), 200 * kMiB);
  for (int window = 0; window < 10; window++) {
    for (int i = 0; i < 100; i++) {
      now += kRetentionWindow_ms / 100;
      retention_note_claim(r, 8 * kMiB, 0, 508 * kMiB, 92 * kMiB, now);
      retention_note_release(r, 8 * kMiB, 500 * kMiB, 100 * kMiB, now);
    }
  }
  EXPECT_LE(r.regret.load_relaxed(), 8 * kMiB);
  EXPECT_LE(retention_budget(r, 500 * kMiB), 500 * kMiB / 16 + 32 * kMiB);
}

TEST_F(RetentionTest, BurstsAreKeptForOnlyIfTheyAreFrequent) {
  for (uint64_t pause : {600, 20}) {
    int64_t most = 0;
    for (int round = 0; round < 50; round++) {
      if (round == 25) most = purged = 0;
      change(48 * kMiB, 5);
      change(-48 * kMiB, 5);
      wait(pause);
      change(kMiB, 1);
      change(-kMiB, 1);
      most = higher(most, resident());
    }
    if (pause == 600) {
      EXPECT_LE(most, 48 * kMiB);
    } else {
      EXPECT_EQ(purged, 0);
    }
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
  EXPECT_LE(budget(), kGiB / 16 + 2 * kMiB);
}

TEST_F(RetentionTest, WhatIsNeededAgainIsCounted) {
  change(kGiB, 500);
  change(-kGiB, 100);
  EXPECT_EQ(retention.needed_again.load_relaxed(), 0u);
  int64_t given_back = clean;
  change(kGiB, 500);
  EXPECT_EQ(int64_t(retention.needed_again.load_relaxed()), given_back);
}

TEST_F(RetentionTest, TheUsersBoundsHold) {
  RetentionPolicy policy = kDefaultPolicy;
  EXPECT_EQ(retention_budget(retention, 0, policy), kRetentionFloor);
  policy.ceiling.store_relaxed(kMiB);
  EXPECT_EQ(retention_budget(retention, kGiB, policy), kMiB);
  policy.ceiling.store_relaxed(0);
  EXPECT_EQ(retention_target(retention_budget(retention, kGiB, policy)), 0);
  policy = kDefaultPolicy;
  policy.floor.store_relaxed(kUnlimited);
  EXPECT_GE(retention_budget(retention, kGiB, policy), kUnlimited - kGiB);
  policy.soft.store_relaxed(100 * kMiB);
  EXPECT_EQ(retention_budget(retention, 60 * kMiB, policy), 40 * kMiB);
  EXPECT_EQ(retention_budget(retention, 200 * kMiB, policy), 0);
}

}  // namespace
}  // namespace poolalloc
