// What tests of heaps share: blocks that are freed come back, and heaps stay valid.
//
// Always holds: a test begins and ends with free memory given back, and then the accounts of pools are right; it frees
// every block itself.
#pragma once

#include <gtest/gtest.h>

#include "accounts.h"
#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "heap/pool_walk.h"

namespace poolalloc::test {

class HeapTest : public testing::Test {
 protected:
  void SetUp() override {
    api_free(api_malloc(1));
    api_malloc_trim(0);
    in_use_before = slices_in_use();
  }
  void TearDown() override {
    api_malloc_trim(0);
    EXPECT_EQ(slices_in_use(), in_use_before) << "blocks are lost";
    int64_t untouched = 0;
    for (HeapGate* each = heap_list(); each != nullptr; each = each->next) {
      EXPECT_TRUE(heap_is_valid(*each->heap));
      untouched -= each->heap->untouched_change;  // not reported yet
    }
    pools_each([&](const PoolSeen& pool) {
      untouched += (pool.capacity - pool.handed_out) * int64_t(class_size(pool.size_class));
    });
    EXPECT_EQ(accounts.untouched.load_relaxed(), untouched) << "of what was never handed out";
  }
  int64_t in_use_before = 0;
};

}  // namespace poolalloc::test
