// Bytes that must be as they were left (hardened.h).
//
// Who may use it: hardened.
#pragma once

#include <string.h>

#include "base/bits.h"

namespace poolalloc {

// What stands between the end of what a user asked for and a block's end.
inline constexpr unsigned char kCanary = 0xbd;

// Whether all of [from, end) are `value`.
inline bool bytes_are(const char* from, const char* end, unsigned char value) {
  const uint64_t words = value * 0x0101010101010101u;
  for (; from < end && address_of(from) % sizeof(uint64_t) != 0; from++) {
    if (static_cast<unsigned char>(*from) != value) return false;
  }
  for (; end - from >= ptrdiff_t{sizeof(uint64_t)}; from += sizeof(uint64_t)) {
    uint64_t word;
    memcpy(&word, from, sizeof word);
    if (word != words) return false;
  }
  for (; from < end; from++) {
    if (static_cast<unsigned char>(*from) != value) return false;
  }
  return true;
}

}  // namespace poolalloc
