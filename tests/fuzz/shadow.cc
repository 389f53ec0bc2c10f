// The shadow of a trace's blocks (shadow.h).
//
// Who may use it: through shadow.h.
#include "shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "entry.h"

namespace fuzz {
namespace {

Block records[kBlocksMost];
Block* unused;
Block* sorted[kBlocksMost];  // the first shadow_blocks of them
uint64_t stamps;

uintptr_t start_of(const Block* block) { return reinterpret_cast<uintptr_t>(block->p); }
// A block of no bytes takes one address.
uintptr_t end_of(const Block* block) { return start_of(block) + (block->usable != 0 ? block->usable : 1); }

struct Held {
  Held() { pthread_mutex_lock(&shadow_lock); }
  ~Held() { pthread_mutex_unlock(&shadow_lock); }
};

// The place of the first block that ends behind the address.
unsigned place_of(uintptr_t address) {
  unsigned from = 0, to = shadow_blocks;
  while (from < to) {
    const unsigned middle = (from + to) / 2;
    if (end_of(sorted[middle]) > address) {
      to = middle;
    } else {
      from = middle + 1;
    }
  }
  return from;
}

void interval_add(Block* block) {
  const unsigned at = place_of(start_of(block));
  if (at < shadow_blocks && start_of(sorted[at]) < end_of(block))
    violated("a block overlaps one that is in use", block->p, block->usable);
  memmove(sorted + at + 1, sorted + at, (shadow_blocks - at) * sizeof *sorted);
  sorted[at] = block;
  shadow_blocks++;
  shadow_bytes += block->usable;
}

uint64_t word_at(uint64_t stamp, size_t at) { return (stamp + at) * 0x9e3779b97f4a7c15u | 1; }

// Where a block of so many bytes has words of its pattern: everywhere, if it is small; else both ends, and a word in
// each 2 KiB, or, far from the start, in each 32 KiB, in a page that the stamp chooses.
template <typename Visit>
bool each_word(size_t size, uint64_t stamp, Visit visit) {
  constexpr size_t kDense = 8192, kClose = size_t{256} << 10, kFar = size_t{32} << 10;
  const size_t dense = size < kDense ? size : 512;
  for (size_t at = 0; at + 8 <= dense; at += 8) {
    if (!visit(at)) return false;
  }
  if (size < kDense) return true;
  const size_t close = size < kClose ? size : kClose;
  for (size_t at = 2048; at + 8 <= close; at += 2048) {
    if (!visit(at)) return false;
  }
  for (size_t at = kClose; at + kFar <= size; at += kFar) {
    if (!visit(at + mixed(stamp + at) % 8 * 4096 + 8)) return false;
  }
  return visit((size - 8) & ~size_t{7});
}

}  // namespace

void violated(const char* law, const void* p, size_t size) {
  char line[300];
  int length = snprintf(line, sizeof line, "fuzz: %s (step %u", law, current_step);
  if (p != nullptr) length += snprintf(line + length, sizeof line - length, ", %p of %zu bytes", p, size);
  if (p == nullptr && size != 0) length += snprintf(line + length, sizeof line - length, ", %zu", size);
  length += snprintf(line + length, sizeof line - length, ")\n");
  if (write(STDERR_FILENO, line, size_t(length)) < 0) abort();
  abort();
}

void shared_calls_make() {
  void* shared = mmap(nullptr, sizeof own_calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  expect(shared != MAP_FAILED, "no memory for the counts of calls");
  calls = static_cast<std::atomic<uint32_t>*>(shared);
}

void shadow_clear() {
  Held held;
  unused = nullptr;
  for (Block& each : records) {
    each.next = unused;
    unused = &each;
  }
  shadow_blocks = 0;
  shadow_bytes = 0;
}

Block* shadow_add(void* p, const Block& about) {
  expect(reinterpret_cast<uintptr_t>(p) % (about.alignment > 16 ? about.alignment : 16) == 0, "a block is misaligned",
         p, about.asked);
  const size_t usable = entry::malloc_usable_size(p);
  expect(usable >= about.asked, "a block's usable size is below what was asked for", p, about.asked);
  Block* block;
  {
    Held held;
    block = unused;
    expect(block != nullptr, "the trace has more blocks than slots");
    unused = block->next;
    *block = about;
    block->p = static_cast<char*>(p);
    block->usable = usable;
    block->is_large |= usable > 65536;
    block->stamp = ++stamps * 1000003;
    interval_add(block);
  }
  block_fill(*block);
  return block;
}

void shadow_take_out(Block* block) {
  Held held;
  const unsigned at = place_of(start_of(block));
  expect(at < shadow_blocks && sorted[at] == block, "the shadow has lost a block", block->p, block->usable);
  shadow_blocks--;
  shadow_bytes -= block->usable;
  memmove(sorted + at, sorted + at + 1, (shadow_blocks - at) * sizeof *sorted);
}

void shadow_put_back(Block* block) {
  Held held;
  interval_add(block);
}

void shadow_give_up(Block* block) {
  Held held;
  block->next = unused;
  unused = block;
}

Block* shadow_find(const void* p) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  const unsigned at = place_of(address);
  return at < shadow_blocks && start_of(sorted[at]) <= address ? sorted[at] : nullptr;
}

Block* shadow_at(unsigned index) { return sorted[index]; }

void pattern_fill(void* p, size_t size, uint64_t stamp) {
  char* bytes = static_cast<char*>(p);
  each_word(size, stamp, [&](size_t at) {
    const uint64_t word = word_at(stamp, at);
    memcpy(bytes + at, &word, 8);
    return true;
  });
  for (size_t at = size & ~size_t{7}; at < size; at++) bytes[at] = char(stamp >> 3);
}

bool pattern_begins(const void* p, size_t whole, size_t size, uint64_t stamp) {
  const char* bytes = static_cast<const char*>(p);
  const bool words_hold = each_word(whole, stamp, [&](size_t at) {
    const uint64_t word = word_at(stamp, at);
    return at >= size || memcmp(bytes + at, &word, size - at < 8 ? size - at : 8) == 0;
  });
  if (!words_hold) return false;
  for (size_t at = whole & ~size_t{7}; at < size; at++) {
    if (bytes[at] != char(stamp >> 3)) return false;
  }
  return true;
}

bool pattern_holds(const void* p, size_t size, uint64_t stamp) { return pattern_begins(p, size, size, stamp); }

void block_fill(Block& block) { pattern_fill(block.p, block.usable, block.stamp); }

void block_check(const Block& block, size_t size, const char* law) {
  expect(pattern_begins(block.p, block.usable, size, block.stamp), law, block.p, block.usable);
}

void zeros_check(const void* p, size_t size, const char* law) {
  const char* bytes = static_cast<const char*>(p);
  expect(size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0), law, p, size);
}

}  // namespace fuzz
