// Bytes that must be as they were left (hardened.h).
//
// Who may use it: hardened.
#pragma once

#include <string.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/constants.h"

namespace poolalloc {

// What stands between the end of what a user asked for and a block's end.
inline constexpr uint64_t kCanaryWord = 0xbdbdbdbdbdbdbdbd;

using Word __attribute__((may_alias)) = uint64_t;
using WordPair __attribute__((may_alias, vector_size(2 * sizeof(uint64_t)))) = uint64_t;

// The bytes of the word at round_down(address, 8) that are not below the address.
PA_INLINE uint64_t bytes_from(uintptr_t address) { return ~uint64_t{0} << address % sizeof(Word) * 8; }

// Fills [from, end) with the canary. Precondition: end is a multiple of 8, and what is below `from` in its word is
// zero.
PA_INLINE void canary_set(char* from, char* end) {
  if (from == end) return;
  char* word = from - address_of(from) % sizeof(Word);
  *reinterpret_cast<Word*>(word) = kCanaryWord & bytes_from(address_of(from));
  for (word += sizeof(Word); word < end; word += sizeof(Word)) {
    *reinterpret_cast<Word*>(word) = kCanaryWord;
    __asm__("" : "+r"(word));  // no call of memset
  }
}

// The same where a block in use has become smaller.
inline void canary_spread(char* from, char* end) { memset(from, int(kCanaryWord & 0xff), size_t(end - from)); }

// Whether the canary is still in [from, end).
PA_INLINE bool canary_is_whole(const char* from, const char* end) {
  if (from == end) return true;
  const char* word = from - address_of(from) % sizeof(Word);
  uint64_t wrong = (*reinterpret_cast<const Word*>(word) ^ kCanaryWord) & bytes_from(address_of(from));
  for (word += sizeof(Word); word < end; word += sizeof(Word))
    wrong |= *reinterpret_cast<const Word*>(word) ^ kCanaryWord;
  return wrong == 0;
}

// Whether [from, end) is zero. Precondition: from is a multiple of 16, and end - from of 8.
PA_INLINE bool zeros_are_whole(const char* from, const char* end) {
  WordPair any{};
  for (; end - from >= ptrdiff_t{sizeof any}; from += sizeof any) any |= *reinterpret_cast<const WordPair*>(from);
  const uint64_t last = from < end ? *reinterpret_cast<const Word*>(from) : 0;
  return (any[0] | any[1] | last) == 0;
}

// Makes [from, end) zero. Preconditions: as zeros_are_whole.
PA_INLINE void zeros_set(char* from, char* end) {
  constexpr ptrdiff_t kInline = 512;
  if (end - from > kInline) {
    memset(from, 0, size_t(end - from));
    return;
  }
  for (; end - from >= ptrdiff_t{sizeof(WordPair)}; from += sizeof(WordPair)) {
    *reinterpret_cast<WordPair*>(from) = WordPair{};
    __asm__("" : "+r"(from));  // no call of memset
  }
  if (from < end) *reinterpret_cast<Word*>(from) = 0;
}

}  // namespace poolalloc
