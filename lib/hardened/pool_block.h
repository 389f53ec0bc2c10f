// A block of a pool, as the hardened library sees it.
//
// Who may use it: hardened.
#pragma once

#include "base/record.h"
#include "heap/size_class.h"
#include "pool/block_pool.h"

namespace poolalloc {

// In use or not; the record is in its last word.
struct PoolBlock {
  char* start;
  const BlockPool* pool;
  size_t size;

  char* end() const { return start + size - kRecordSize; }  // of what a user may have
  Atomic<uint64_t>& word() const { return record_word(start, size); }
};

PA_INLINE PoolBlock block_at(void* p, const BlockPool* pool) {
  return {static_cast<char*>(p), pool, class_size(pool->size_class)};
}

}  // namespace poolalloc
