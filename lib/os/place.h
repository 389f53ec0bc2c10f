// What stands at an address that is none of the library's, and where a call came from: for messages about misuse.
//
// Always holds: nothing is allocated; the address is not read through. Slow: for what happens once.
// Who may use it: heap and api.
#pragma once

#include <stdint.h>

namespace poolalloc {

enum class Place : uint8_t {
  unknown,   // another allocator may own it, for all that can be told
  unmapped,  // the process has no memory there
  stack,     // of the calling thread
  program,   // code or variables of the program or of a library, ld.so's apart, which serves malloc from there at first
};
Place os_place_of(const void* p);

// Writes who called whom to stderr, a line for each function as MODULE+OFFSET: where the code has frame pointers or
// unwind tables, up to 16 of them.
void os_print_stack();

}  // namespace poolalloc
