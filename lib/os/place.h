// What stands at an address that is none of the library's, where a call came from, and what the process has mapped.
//
// Always holds: nothing is allocated; the address is not read through. Slow, but for taking a stack's trace: for what
// happens once.
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
// Whether it is this library's code or variables; in a static program, the program's.
bool os_is_own_place(const void* p);
// Whether this library is a file of its own, not a part of the program.
bool os_library_is_apart();

// Who defines the function at an address that the dynamic linker has given for its name.
struct Definer {
  bool is_known;     // false also of the program's stub for a function of a library, which may stand for its address
  bool is_program;   // the program itself, no library
  const char* path;  // nullptr: not known
};
Definer os_definer_of(const void* function);

// Who called whom, the innermost first: return addresses, without the library's own.
struct StackTrace {
  static constexpr unsigned kMost = 16;
  uintptr_t frames[kMost];
  unsigned count;
};

// Takes the calling thread's trace, where the code has frame pointers or unwind tables. In a signal handler `from` is
// the interrupted instruction, where the trace then begins; else 0. A few microseconds after os_stack_start.
void os_stack_take(StackTrace& trace, uintptr_t from);
// The same, of up to `most` functions; how many there are.
unsigned os_stack_take(uintptr_t* frames, unsigned most, uintptr_t from);
// Once, before there are many traces: finds out how code is found without a lock.
void os_stack_start();

// Writes a trace to stderr, a line for each function as MODULE+OFFSET.
void os_stack_print(const StackTrace& trace);
// The same for where the call came from.
void os_print_stack();

// A mapping of the process, as the kernel lists it.
struct Mapping {
  uintptr_t start, end;
  uint64_t offset;  // of `start` in the file
  bool is_readable, is_writable, is_executable;
  const char* name;  // a path, or a name in brackets, cut to some length; "": none. During the visit only
};
// Calls visit for each mapping, by address, until it returns false. False: the list cannot be read to its end, or visit
// has ended it.
bool os_mappings_visit(bool (*visit)(void* context, const Mapping& mapping), void* context);

}  // namespace poolalloc
