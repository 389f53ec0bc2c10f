// What the bytes of a trace mean.
//
// A trace is a row of steps of eight bytes each, whatever the bytes are; what is left over at the end is no step. Each
// step says which operation it is, in which lane (a thread's place) and on which of the lane's slots it works, how, and
// with which size.
//
// Always holds: the same bytes mean the same steps in every build. Who may use it: the trace interpreter.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace fuzz {

inline constexpr unsigned kLanes = 4;
inline constexpr unsigned kSlots = 1024;      // of a lane
inline constexpr unsigned kShared = 128;      // slots that all lanes reach
inline constexpr unsigned kStepsMost = 2048;  // of a trace; what follows is left out

struct Step {
  uint8_t operation;
  uint8_t place;
  uint8_t how;
  uint8_t other;
  uint32_t amount;

  unsigned lane() const { return place % kLanes; }
  // The first slot that it works on, and how many it does.
  unsigned slot() const { return place / kLanes * 16; }
  unsigned count() const {
    constexpr uint16_t kCounts[16] = {1, 1, 1, 1, 1, 1, 2, 3, 4, 8, 16, 16, 32, 64, 200, 600};
    return kCounts[how / 16];
  }
  unsigned variant() const { return how % 16 + other % 4 * 16; }
};
static_assert(sizeof(Step) == 8);

inline uint64_t mixed(uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A size that can be had, by its kind: most are small, many stand at a border.
inline size_t plain_size(uint32_t amount) {
  const size_t value = amount >> 4 & 0x7ffffff;
  const size_t about = value / 64 % 5;  // a border is two below it
  switch (amount % 16) {
    case 0:
    case 1:
      return value % 1100;
    case 2:
    case 3:
      return value % 130;
    case 4:
      return value % 3;
    case 5:
    case 6: {
      const size_t eighth = value % 64;
      return ((9 + eighth % 8) << (eighth / 8 + 4)) - 2 + about;
    }
    case 7:
      return (size_t{16} << value % 21) - 2 + about;
    case 8:
      return value % 9000;
    case 9:
      return value % 70000;
    case 10:
      return (1 + value % 300) * 4096 - 2 + about;
    case 11:
      return 65536 + value % 300;
    case 12:
      return value % 300000;
    case 13:
      return value % (size_t{2} << 20);
    case 14:
      return value % 50 == 0 ? value % (size_t{24} << 20) : value % 300;
    default:
      return (1 + value % 16) * 16 - 2 + about;
  }
}
// Of the i-th block of a step: the same for all, or another one of the same kind.
inline size_t size_of(const Step& step, unsigned i) {
  if (i == 0 || step.amount >> 31 == 0) return plain_size(step.amount);
  return plain_size(step.amount % 16 | uint32_t(mixed(step.amount + i)) << 4);
}

// A power of two.
inline size_t alignment_of(const Step& step) {
  const unsigned bits = step.other / 4 % 32;
  return size_t{1} << (bits < 20 ? bits % 14 : bits < 30 ? bits - 14 : bits - 8);
}

// A size that nobody can have.
inline size_t impossible_size(uint32_t amount) {
  const size_t value = amount >> 3;
  switch (amount % 8) {
    case 0:
      return SIZE_MAX - value % 5000;
    case 1:
      return size_t{PTRDIFF_MAX} + 1 + value;
    case 2:
      return size_t{PTRDIFF_MAX} - value % 100000;
    case 3:
      return (size_t{1} << (48 + value % 16)) + value / 16 % 3;
    case 4:
      return SIZE_MAX - value;
    case 5:
      return (size_t{1} << 63) + value;
    case 6:
      return size_t{1} << 62 | value;
    default:
      return SIZE_MAX;
  }
}

}  // namespace fuzz
