// What tests of heaps share: blocks that are freed come back, and heaps stay valid.
//
// Always holds: a test begins and ends with free memory given back; it frees every block itself.
#pragma once

#include <gtest/gtest.h>

#include "accounts.h"
#include "api/glibc_api.h"
#include "api/malloc_api.h"

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
    for (HeapGate* each = heap_list(); each != nullptr; each = each->next) EXPECT_TRUE(heap_is_valid(*each->heap));
  }
  int64_t in_use_before = 0;
};

}  // namespace poolalloc::test
