// What the hardened library knows of a block of a pool (hardened/hardened.h): a record in its last word, which only
// this library can make.
//
// Always holds: a word that unpacks as a record was written by this library for that address; the states follow each
// other
//   free -> live -> busy -> free
// and who writes `busy` owns the block; a process without threads goes from live to free. The memory of a free block is
// zero, but for its record, and the link in its first word while it is on a list, and the word behind that while it is
// a message (heap/remote.h). Blocks in holes have neither link nor record.
// Synchronization: the word is atomic; release when a state is written, acquire when it is read.
// Who may use it: pool and above.
#pragma once

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/constants.h"

namespace poolalloc {

// What has made a block.
enum class Maker : uint8_t { malloc, new_one, new_array };

enum class RecordState : uint8_t {
  broken,  // no record: it was written over
  busy,    // somebody is changing the block
  live,    // in use
  free,    // not in use
};

struct Record {
  RecordState state;
  Maker maker;
  size_t size;  // bytes that were asked for
};

inline constexpr size_t kRecordSize = sizeof(uint64_t);

// The secret of the process, of records and of links (pool/block_pool.h). Synchronization: written once, before the
// first pool is made.
__attribute__((visibility("hidden"))) inline constinit uintptr_t link_secret = 0;

// What a record says takes the lower bits of the word; the upper ones are a check over that, the address and the
// secret.
inline constexpr unsigned kRecordBits = 22;
inline constexpr uint64_t kRecordSaid = (uint64_t{1} << kRecordBits) - 1;
PA_INLINE uint64_t record_check(const void* p, uint64_t said) {
  return (address_of(p) ^ link_secret ^ said << (64 - kRecordBits)) * 0x9e3779b97f4a7c15 & ~kRecordSaid;
}

// Precondition: size <= kPoolBlockMax.
PA_INLINE uint64_t record_pack(const void* p, Record record) {
  uint64_t said = record.size << 4 | uint64_t(record.state) << 2 | uint64_t(record.maker);
  return said | record_check(p, said);
}
PA_INLINE uint64_t record_free(const void* p) { return record_pack(p, {RecordState::free, Maker::malloc, 0}); }

PA_INLINE Record record_unpack(const void* p, uint64_t word) {
  uint64_t said = word & kRecordSaid;
  if (PA_UNLIKELY((word & ~kRecordSaid) != record_check(p, said))) return {RecordState::broken, Maker::malloc, 0};
  return {RecordState(said >> 2 & 3), Maker(said & 3), said >> 4};
}
static_assert(kPoolBlockMax < size_t{1} << (kRecordBits - 4));
// The size in a record that is known to be one.
PA_INLINE size_t record_size(uint64_t word) { return (word & kRecordSaid) >> 4; }

PA_INLINE Atomic<uint64_t>& record_word(void* block, size_t block_size) {
  return *byte_offset<Atomic<uint64_t>>(block, block_size - kRecordSize);
}

}  // namespace poolalloc
