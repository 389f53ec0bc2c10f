// Calls of what may throw, in functions that may not.
//
// Always holds: what catching needs of the C++ runtime does not become something that the library needs to be loaded.
// Who may use it: interpose, in files that are compiled with exceptions.
#pragma once

__asm__(".weak __gxx_personality_v0\n.weak __cxa_begin_catch\n.weak __cxa_end_catch");

namespace poolalloc {

// Whether there is such a runtime, which catches.
extern "C" __attribute__((weak)) void __gxx_personality_v0();
inline bool can_catch() { return &__gxx_personality_v0 != nullptr; }

template <typename Allocate>
inline void* or_nullptr(Allocate allocate) {
  try {
    return allocate();
  } catch (...) {
    return nullptr;
  }
}

}  // namespace poolalloc
