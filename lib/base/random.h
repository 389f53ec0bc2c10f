// Numbers that nobody is to guess, though not for keys: splitmix64.
//
// Always holds: pure functions; whoever keeps a state adds kRandomStep to it and mixes the sum.
// Who may use it: everybody.
#pragma once

#include <stdint.h>

namespace poolalloc {

inline constexpr uint64_t kRandomStep = 0x9e3779b97f4a7c15;

constexpr uint64_t random_mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

}  // namespace poolalloc
