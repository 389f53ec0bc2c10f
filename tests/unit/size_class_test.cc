// Laws of size classes (heap/size_class.h) and of the reciprocal test (pool/block_pool.h), over their
// whole range.
//
// Always holds: nothing is sampled; every request size, class and offset is tried.
#include "heap/size_class.h"

#include <gtest/gtest.h>

namespace poolalloc {
namespace {

size_t pool_span(unsigned size_class) { return class_slices(size_class, 8) * kSliceSize; }

TEST(SizeClass, IsTheSmallestThatFits) {
  for (size_t size = 0; size <= kPoolBlockMax; size++) {
    unsigned c = size_class_of(size);
    ASSERT_LT(c, kClassCount) << size;
    ASSERT_GE(class_size(c), size);
    if (c > 0) {
      ASSERT_LT(class_size(c - 1), size) << "a smaller class would do";
    }
  }
}

TEST(SizeClass, ClassesAscend) {
  for (unsigned c = 1; c < kClassCount; c++) ASSERT_LT(class_size(c - 1), class_size(c));
  EXPECT_EQ(class_size(kClassCount - 1), kPoolBlockMax);
}

TEST(SizeClass, GrowsWithTheSize) {
  for (size_t size = 1; size <= kPoolBlockMax; size++) ASSERT_LE(size_class_of(size - 1), size_class_of(size)) << size;
}

TEST(SizeClass, WastesAtMostAnEighthAbove128) {
  for (size_t size = 129; size <= kPoolBlockMax; size++) {
    ASSERT_LE((class_size(size_class_of(size)) - size) * 8, class_size(size_class_of(size))) << size;
  }
}

TEST(SizeClass, BlocksAre16Aligned) {
  for (unsigned c = 0; c < kClassCount; c++) ASSERT_EQ(class_size(c) % kBlockAlignment, 0u) << c;
}

TEST(SizeClass, MultiplesOfAPowerOfTwoGetSuchBlocks) {
  for (size_t power = 1; power <= kSliceSize; power *= 2) {
    for (size_t size = power; size <= kPoolBlockMax; size += power) {
      ASSERT_EQ(class_size(size_class_of(size)) % power, 0u) << size << " is a multiple of " << power;
    }
  }
}

TEST(SizeClass, TablesEqualTheComputation) {
  for (size_t i = 0; i <= kSmallMax / 16; i++) ASSERT_EQ(kSizeClasses.small[i], size_class_compute(i * 16)) << i;
  for (size_t size = 0; size <= kPoolBlockMax; size++) ASSERT_EQ(size_class_of(size), size_class_compute(size)) << size;
  for (unsigned c = 0; c < kClassCount; c++) ASSERT_EQ(class_size(c), class_size_compute(c)) << c;
}

TEST(SizeClass, EachClassServesItsOwnSize) {
  for (unsigned c = 0; c < kClassCount; c++) ASSERT_EQ(size_class_of(class_size(c)), c);
}

TEST(SizeClass, PoolsHaveAtLeastSevenBlocksAndTheirIndexesFit) {
  for (unsigned c = 0; c < kClassCount; c++) {
    EXPECT_GE(pool_span(c) / class_size(c), 7u) << c;
    EXPECT_LE(pool_span(c) / class_size(c), size_t{UINT16_MAX}) << c;
  }
}

TEST(Reciprocal, TellsEveryMultipleOfEveryClassInAPool) {
  for (unsigned c = 0; c < kClassCount; c++) {
    const uint64_t reciprocal = reciprocal_of(class_size(c));
    size_t remainder = 0;
    for (size_t offset = 0; offset < pool_span(c); offset++) {
      Quotient quotient = quotient_of(offset, reciprocal);
      ASSERT_EQ(quotient.whole, offset / class_size(c));
      ASSERT_EQ(quotient.fraction < reciprocal, remainder == 0) << offset << " of " << class_size(c);
      if (++remainder == class_size(c)) remainder = 0;
    }
  }
}

TEST(Reciprocal, IsExactUpTo32Bits) {
  for (unsigned long long divisor : {3ull, 48ull, 112ull, 57344ull, 65521ull, 0xffffffffull}) {
    uint64_t reciprocal = reciprocal_of(divisor);
    for (uint64_t offset : {divisor - 1, divisor, divisor + 1, 0xfffffffeull, 0xffffffffull}) {
      Quotient quotient = quotient_of(offset, reciprocal);
      EXPECT_EQ(quotient.whole, offset / divisor);
      EXPECT_EQ(quotient.fraction < reciprocal, offset % divisor == 0) << offset << " of " << divisor;
    }
  }
}

}  // namespace
}  // namespace poolalloc
