// What is known of the blocks that a trace has: where each is, how large, and which bytes it has.
//
// The equations, where nobody is at work:
//   the intervals are sorted and disjoint, one for each block in use
//   a block's bytes are its pattern, from the time it is filled until it is taken out
//
// Always holds: nothing here allocates; a violated law ends the process by abort(), after one line on stderr.
// Synchronization: shadow_lock, which each function takes; a block's record belongs to whoever has the block.
// Who may use it: the trace interpreter.
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "trace.h"

namespace fuzz {

enum class Maker : uint8_t { malloc, new_one, new_array };

struct Block {
  char* p = nullptr;
  size_t usable = 0;  // what malloc_usable_size has said; all of it has the pattern
  size_t asked = 0;
  size_t alignment = 16;  // as it was asked for
  uint64_t stamp = 0;
  Maker maker = Maker::malloc;
  uint8_t heap = 0;         // 0: a thread's; else the number of one of the program's, and one
  bool is_large = false;    // it is no block of a pool
  bool is_cleared = false;  // it came from calloc or recalloc, and may be given to recalloc
  Block* next = nullptr;    // of the records that nobody has
};

// The step that the calling thread is at.
inline __thread unsigned current_step;

[[noreturn]] void violated(const char* law, const void* p = nullptr, size_t size = 0);
inline void expect(bool holds, const char* law, const void* p = nullptr, size_t size = 0) {
  if (__builtin_expect(!holds, 0)) violated(law, p, size);
}

inline pthread_mutex_t shadow_lock = PTHREAD_MUTEX_INITIALIZER;
inline unsigned shadow_blocks;  // in use
inline size_t shadow_bytes;     // usable ones of those

inline constexpr unsigned kBlocksMost = kLanes * kSlots + kShared + 64;

// Forgets all.
void shadow_clear();
// Whether a new block with this alignment is none of a pool, however small it is.
inline bool is_large_for(size_t alignment) { return alignment > 65536; }
// A new block: aligned, at least as large as asked for, beside all others. It is filled.
Block* shadow_add(void* p, const Block& about);
// The interval of a block goes, or comes back. Between the two the record is the caller's, and memory may have another
// owner. What leaves for ever must be given up as well.
void shadow_take_out(Block* block);
void shadow_put_back(Block* block);
void shadow_give_up(Block* block);
// The block in use that has the address; nullptr: none. For threads at rest.
Block* shadow_find(const void* p);
// All blocks in use, in the order of their addresses. For threads at rest.
Block* shadow_at(unsigned index);

// Writes the pattern of all usable bytes; makes sure that the first `size` bytes still have it.
void block_fill(Block& block);
void block_check(const Block& block, size_t size, const char* law);
inline void block_check(const Block& block) { block_check(block, block.usable, "a block has lost its bytes"); }
void zeros_check(const void* p, size_t size, const char* law);

// The pattern for those who keep their own records.
void pattern_fill(void* p, size_t size, uint64_t stamp);
bool pattern_holds(const void* p, size_t size, uint64_t stamp);
// Whether the first `size` bytes are those of a pattern of `whole` bytes.
bool pattern_begins(const void* p, size_t whole, size_t size, uint64_t stamp);

}  // namespace fuzz
