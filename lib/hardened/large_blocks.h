// Large blocks of the hardened library: an extent each (chunk/extent.h), with an inaccessible page in front and one
// behind.
//
// Always holds: the extent's note says what a record says, and where the block begins. What is between the size asked
// for and the next page is filled with a canary. A freed block has no memory, and keeps its addresses until many others
// have been freed.
//
// Thread-safe, without a lock but the extents' own. Who may use it: hardened.
#pragma once

#include "hardened/hardened.h"

namespace poolalloc {

void* large_block_alloc(size_t size, size_t alignment, Maker maker);
// The same for realloc, which makes the block at p larger and is going to copy it; nullptr also if p is no large block.
void* large_block_alloc_growing(const void* p, size_t size);
// Copies from a block to a large one that was handed out just now. What is zero is not written: it is zero there, and
// pages that nobody has touched stay without memory.
void large_block_copy(void* to, const void* from, size_t size);
// Makes the block larger where it is; false: it has no room, or is not in use.
bool large_block_grow(void* p, size_t size);

// Notes that a block in use, which stays where it is, has become so much smaller.
void large_block_shrink(void* p, size_t size);

struct LargeBlock {
  bool is_there;  // a block starts at p, in use or freed
  Record record;  // state free: it was freed
};
LargeBlock large_block_find(const void* p);
// Where the block in use begins that p is in, and its size; nullptr: there is none.
void* large_block_around(const void* p, size_t* size);
// Where the block in use begins whose extent starts there, and its size; nullptr: there is none.
void* large_block_in(void* start, size_t* size);
// The first step of freeing a block that is in use; false: another thread was faster. Then nobody else can take it.
bool large_block_take(void* p);
// Whether what is behind a block that was taken is as it was left.
bool large_block_is_whole(const void* p, const Record& record);
// The last step.
void large_block_free(void* p, const Record& record);
// When there is no memory: lets the addresses of freed blocks go; whether there were any.
bool large_blocks_let_go();

}  // namespace poolalloc
