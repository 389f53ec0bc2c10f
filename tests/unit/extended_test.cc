// Laws of what poolalloc.h has beyond malloc's family (api/extended_api.cc), and of the values of options
// (api/options.h).
//
// Always holds: each test puts options and handlers back as they were.
#include <errno.h>
#include <gtest/gtest.h>

#include <string>

#define POOLALLOC_NO_SHORT_NAMES
#include "api/malloc_api.h"
#include "api/options.h"
#include "api/poolalloc.h"
#include "chunk/accounts.h"
#include "heap/misuse.h"
#include "os/message.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::bytes_all;
using test::Random;

TEST(Extended, GoodSizeIsWhatABlockHas) {
  for (size_t size = 0; size < 200000; size += 1 + size / 50) {
    void* block = api_malloc(size);
    EXPECT_EQ(poolalloc_good_size(size), api_usable_size(block)) << size;
    EXPECT_EQ(poolalloc_good_size(poolalloc_good_size(size)), poolalloc_good_size(size));
    api_free(block);
  }
}

TEST(Extended, ExpandNeverMoves) {
  char* block = static_cast<char*>(api_malloc(100));
  EXPECT_EQ(poolalloc_expand(block, 50), block);
  EXPECT_EQ(poolalloc_expand(block, poolalloc_good_size(100)), block);
  errno = 7;
  EXPECT_EQ(poolalloc_expand(block, poolalloc_good_size(100) + 1), nullptr);
  EXPECT_EQ(errno, 7);
  api_free(block);
  // With free memory behind it a large block grows.
  char* large = static_cast<char*>(api_malloc(300000));
  memset(large, 'x', 300000);
  size_t size = 300000;
  while (size < (100 << 20) && poolalloc_expand(large, size * 2) == large) {
    size *= 2;
    EXPECT_GE(api_usable_size(large), size);
  }
  EXPECT_EQ(poolalloc_expand(large, SIZE_MAX), nullptr);
  EXPECT_EQ(poolalloc_expand(large, 10), large);
  EXPECT_TRUE(bytes_all(large, 300000, 'x'));
  api_free(large);
}

TEST(Extended, RecallocGrowsWithZeros) {
  // Memory that is handed out again is not zero.
  for (size_t size = 1; size < 300000; size += size / 9 + 1) {
    void* dirty[20];
    for (void*& each : dirty) {
      each = api_malloc(size);
      memset(each, 0xee, api_usable_size(each));
    }
    for (void* each : dirty) api_free(each);
  }
  for (size_t size : {1, 10, 24, 100, 1000, 1025, 9000, 70000, 200000}) {
    char* block = static_cast<char*>(poolalloc_recalloc(nullptr, size, 1));
    size_t grown = size;
    for (int i = 0; i < 12; i++) {
      memset(block, 'x', size);
      grown += 1 + grown / 9;
      block = static_cast<char*>(poolalloc_recalloc(block, grown, 1));
      ASSERT_NE(block, nullptr);
      ASSERT_TRUE(bytes_all(block, size, 'x'));
      ASSERT_TRUE(bytes_all(block + size, grown - size, 0)) << size << " " << grown;
    }
    errno = 0;
    EXPECT_EQ(poolalloc_recalloc(block, SIZE_MAX / 2, 3), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_TRUE(bytes_all(block, size, 'x'));
    EXPECT_EQ(poolalloc_recalloc(block, 0, 1), nullptr);
  }
}

TEST(Extended, RecallocThatShrinksLeavesNothingBehind) {
  const size_t steps[][3] = {
      {100, 50, 64}, {100, 96, 112}, {300000, 200000, 204000}, {5000, 100, 6000}, {200000, 5000, 250000}};
  for (auto& [first, less, more] : steps) {
    char* block = static_cast<char*>(poolalloc_recalloc(nullptr, first, 1));
    memset(block, 'x', first);
    block = static_cast<char*>(poolalloc_recalloc(block, less, 1));
    ASSERT_TRUE(bytes_all(block, less, 'x'));
    block = static_cast<char*>(poolalloc_recalloc(block, 1, more));
    ASSERT_TRUE(bytes_all(block, less, 'x'));
    EXPECT_TRUE(bytes_all(block + less, more - less, 0)) << first << " " << less << " " << more;
    api_free(block);
  }
}

TEST(Extended, SizesThatCannotBeAreNone) {
  for (size_t size : {SIZE_MAX, SIZE_MAX - 5000, size_t{1} << 63}) {
    EXPECT_EQ(poolalloc_good_size(size), size);
    EXPECT_EQ(poolalloc_aligned_realloc(nullptr, 64, size), nullptr);
  }
  // What is left over would be most of it.
  void* block = api_malloc(64 << 20);
  void* small = poolalloc_aligned_realloc(block, 16, 100);
  EXPECT_LT(api_usable_size(small), 1000u);
  api_free(small);
}

TEST(Extended, AlignedReallocKeepsBytesAndAlignment) {
  Random random(1);
  for (size_t alignment : {1, 16, 64, 4096, 1 << 17}) {
    size_t size = 1;
    char* block = static_cast<char*>(poolalloc_aligned_realloc(nullptr, alignment, size));
    for (int i = 0; i < 60; i++) {
      memset(block, i, size);
      size_t next = 1 + random.size_up_to(200000);
      block = static_cast<char*>(poolalloc_aligned_realloc(block, alignment, next));
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(address_of(block) % alignment, 0u);
      ASSERT_TRUE(bytes_all(block, std::min(size, next), static_cast<unsigned char>(i)));
      size = next;
    }
    EXPECT_EQ(poolalloc_aligned_realloc(block, alignment, 0), nullptr);
  }
  errno = 0;
  EXPECT_EQ(poolalloc_aligned_realloc(nullptr, 24, 10), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Extended, TrimSaysHowMuchItGaveBack) {
  std::vector<void*> blocks;
  for (int i = 0; i < 2000; i++) memset(blocks.emplace_back(api_malloc(5000)), 1, 5000);
  for (void* block : blocks) api_free(block);
  const int64_t free = accounts.dirty_free.load_relaxed();
  EXPECT_GE(poolalloc_trim() + (64 << 10), size_t(free));
  EXPECT_EQ(accounts.dirty_free.load_relaxed(), 0);
}

// --- Options ---------------------------------------------------------------------------------------------

std::string option(const char* name) {
  char value[100];
  int length = poolalloc_option_get(name, value, sizeof value);
  EXPECT_EQ(size_t(length), strlen(value));
  return value;
}

TEST(Options, AreSetAndReadByName) {
  EXPECT_EQ(option("purge_floor"), "16M");
  EXPECT_EQ(poolalloc_option_set("purge_floor", "3M"), 0);
  EXPECT_EQ(option("purge_floor"), "3M");
  EXPECT_EQ(retention_policy.floor.load_relaxed(), 3 << 20);
  EXPECT_EQ(poolalloc_option_set("purge", "off"), 0);
  EXPECT_EQ(retention_policy.floor.load_relaxed(), kUnlimited);
  EXPECT_EQ(poolalloc_option_set("purge", "eager"), 0);
  EXPECT_EQ(retention_policy.floor.load_relaxed(), 3 << 20);
  EXPECT_EQ(retention_policy.ceiling.load_relaxed(), 0);
  EXPECT_EQ(poolalloc_option_set("purge", "on"), 0);
  EXPECT_EQ(retention_policy.ceiling.load_relaxed(), kUnlimited);
  EXPECT_EQ(poolalloc_option_set("purge_floor", "16M"), 0);
  EXPECT_EQ(poolalloc_option_set("misuse", "warn"), 0);
  EXPECT_EQ(misuse_policy.load_relaxed(), MisusePolicy::warn);
  EXPECT_EQ(poolalloc_option_set("misuse", "abort"), 0);
  struct {
    const char *name, *value;
    int error;
  } wrong[] = {{"purge_flor", "3M", ENOENT}, {"POOLALLOC_PURGE", "on", ENOENT},
               {"purge", "maybe", EINVAL},   {"purge_floor", "", EINVAL},
               {"stats", "1", EPERM},        {"guard", "100", EPERM}};
  for (auto& each : wrong) {
    errno = 0;
    EXPECT_EQ(poolalloc_option_set(each.name, each.value), -1) << each.name;
    EXPECT_EQ(errno, each.error) << each.name;
  }
  EXPECT_EQ(option("purge_floor"), "16M");
  for (size_t size = 0; size < 9; size++) {
    char cut[10];
    memset(cut, 'x', sizeof cut);
    EXPECT_EQ(poolalloc_option_get("misuse", cut, size), 5);
    EXPECT_EQ(std::string(cut, strnlen(cut, size)), std::string("abort").substr(0, size == 0 ? 0 : size - 1));
    EXPECT_TRUE(bytes_all(cut + size, sizeof cut - size, 'x')) << size;
  }
  EXPECT_EQ(poolalloc_option_get("misuse", nullptr, 0), 5);
  EXPECT_EQ(poolalloc_option_get("", nullptr, 0), -1);
}

TEST(Options, UnderstandSizesOrSayNo) {
  const struct {
    const char* value;
    int64_t size;  // -1: no SIZE
  } cases[] = {{"0", 0},
               {"1", 1},
               {"1023", 1023},
               {"512b", 512},
               {"1K", 1 << 10},
               {"1k", 1 << 10},
               {"1KB", 1 << 10},
               {"1KiB", 1 << 10},
               {"1kib", 1 << 10},
               {"7M", 7 << 20},
               {"1g", 1 << 30},
               {"1GB", 1 << 30},
               {"1GiB", 1 << 30},
               {"2T", int64_t{2} << 40},
               {"1.5G", 3 << 29},
               {"0.25m", 1 << 18},
               {"1.000001K", 1024},
               {"none", kUnlimited},
               {"", -1},
               {" 1", -1},
               {"1 G", -1},
               {"-1", -1},
               {"+1", -1},
               {"1.5", -1},
               {"1.", -1},
               {"1.G", -1},
               {".5G", -1},
               {"1.5.5G", -1},
               {"G", -1},
               {"1GX", -1},
               {"1Gi", -1},
               {"1iB", -1},
               {"1P", -1},
               {"0x10", -1},
               {"1e9", -1},
               {"9000000T", -1},
               {"99999999999999999999", -1},
               {"None", -1},
               {"unlimited", -1}};
  for (auto& each : cases) {
    retention_policy.floor.store_relaxed(77);
    const bool is_size = poolalloc_option_set("purge_floor", each.value) == 0;
    EXPECT_EQ(is_size, each.size >= 0) << each.value;
    EXPECT_EQ(retention_policy.floor.load_relaxed(), each.size >= 0 ? each.size : 77) << each.value;
  }
  poolalloc_option_set("purge_floor", "16M");
}

// --- Handlers ----------------------------------------------------------------------------------------------

TEST(Handlers, GetTheLinesThatStderrWouldGet) {
  std::vector<std::string> lines;
  poolalloc_on_message(
      [](const char* line, size_t length, void* context) {
        EXPECT_EQ(strlen(line), length);
        static_cast<std::vector<std::string>*>(context)->push_back(line);
      },
      &lines);
  poolalloc_option_set("misuse", "warn");
  void* block = api_malloc(48);
  api_free(block);
  api_free(block);
  poolalloc_option_set("misuse", "abort");
  poolalloc_on_message(nullptr, nullptr);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].find("poolalloc: free(): 0x"), 0u);
  EXPECT_NE(lines[0].find("is free already (double free of a block of 48 bytes)"), std::string::npos);
}

TEST(Handlers, AllocateFromTheThreadsOwnHeap) {
  static poolalloc_heap* heap_of_kept;
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  poolalloc_on_message(
      [](const char*, size_t, void*) {
        void* kept = api_malloc(100);
        heap_of_kept = poolalloc_heap_of(kept);
        api_free(kept);
      },
      nullptr);
  poolalloc_option_set("misuse", "warn");
  void* block = api_malloc(48);
  api_free(block);
  poolalloc_heap_push(heap);
  heap_of_kept = heap;
  api_free(block);
  poolalloc_heap_pop();
  poolalloc_option_set("misuse", "abort");
  poolalloc_on_message(nullptr, nullptr);
  EXPECT_EQ(heap_of_kept, nullptr);
  poolalloc_heap_delete(heap);
}

TEST(Handlers, AreAskedBeforeACallFails) {
  struct Asked {
    int count;
    std::vector<void*> reserve;
  } asked{0, {}};
  auto handler = [](size_t, void* context) {
    Asked& known = *static_cast<Asked*>(context);
    known.count++;
    if (known.reserve.empty()) return 0;
    api_free(known.reserve.back());
    known.reserve.pop_back();
    return 1;
  };
  for (int i = 0; i < 5; i++) asked.reserve.push_back(api_malloc(8 << 20));
  retention_policy.hard.store_relaxed(accounts.in_use.load_relaxed() + (4 << 20));
  poolalloc_on_no_memory(handler, &asked);
  // Each finds room when one of the reserve is gone.
  void* blocks[] = {api_malloc(10 << 20), api_calloc(1, 8 << 20), api_memalign(4096, 8 << 20),
                    api_realloc(api_malloc(100), 8 << 20)};
  for (void* block : blocks) EXPECT_NE(block, nullptr);
  EXPECT_GE(asked.count, 4);
  const int before = asked.count;
  asked.reserve.clear();
  errno = 0;
  EXPECT_EQ(api_malloc(100 << 20), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(asked.count, before + 1);
  EXPECT_EQ(api_malloc(SIZE_MAX), nullptr);
  EXPECT_EQ(asked.count, before + 1) << "asked for what never can be";
  poolalloc_on_no_memory(nullptr, nullptr);
  retention_policy.hard.store_relaxed(kUnlimited);
  for (void* block : blocks) api_free(block);
}

}  // namespace
}  // namespace poolalloc
