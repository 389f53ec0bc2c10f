// What the hardened library knows of a block (hardened.h): a record in one word, which only it can make.
//
// Always holds: a record that is read back as one was written for that address; the states follow each other
//   unused or free -> busy -> live -> busy -> freed -> free
// and who writes `busy` owns the block. The memory of a block that is unused, freed or free is zero, but for the link in
// its first word while it is free.
// Synchronization: the word is atomic; release when a state is written, acquire when it is read.
// Who may use it: hardened.
#pragma once

#include "base/atomic.h"
#include "hardened/hardened.h"
#include "pool/block_pool.h"

namespace poolalloc {

enum class RecordState : uint8_t {
  broken,  // no record: it was written over
  unused,  // the block's memory was never used, or has been given back; the word may be zero
  busy,    // somebody is changing the block
  live,    // in use
  freed,   // in a quarantine
  free,    // in its heap's hands
};

struct Record {
  RecordState state;
  Maker maker;
  size_t size;  // bytes that were asked for
};

// What a record says takes the lower bits of the word; the upper ones are a check over that, the address and the secret.
inline constexpr unsigned kRecordBits = 22;
inline uint64_t record_check(const void* p, uint64_t said) {
  uint64_t mixed = (address_of(p) ^ link_secret ^ said << 42) * 0x9e3779b97f4a7c15;
  mixed = (mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9;
  return mixed << kRecordBits;
}

// Precondition: size <= kPoolBlockMax.
inline uint64_t record_pack(const void* p, Record record) {
  uint64_t said = record.size << 5 | uint64_t(record.state) << 2 | uint64_t(record.maker);
  return said | record_check(p, said);
}

inline Record record_unpack(const void* p, uint64_t word) {
  constexpr uint64_t kSaid = (uint64_t{1} << kRecordBits) - 1;
  if (word == 0) return {RecordState::unused, Maker::malloc, 0};
  uint64_t said = word & kSaid;
  if ((word & ~kSaid) != record_check(p, said)) return {RecordState::broken, Maker::malloc, 0};
  return {RecordState(said >> 2 & 7), Maker(said & 3), said >> 5};
}
static_assert(kPoolBlockMax < size_t{1} << (kRecordBits - 5));

}  // namespace poolalloc
