// Passing calls on to the allocator behind this library (heap/next_allocator.h).
//
// Always holds: as there.
// Who may use it: the start-up code, and interpose, which knows what the public names are bound to.
#pragma once

namespace poolalloc {

// Whether the program, called by that path (nullptr: unknown), is one of those that a value of POOLALLOC_DISABLE means:
// "1", or a list of names with commas.
bool pass_is_wanted(const char* value, const char* path);
// Passes on from here; false: there is nothing behind this library, in a static program for one. When the library
// starts.
bool pass_start();
// The same if the program has a malloc of its own: then what it does not replace is libc's, as without this library,
// and suits what the program's functions expect. A tool that stands before this library has one, too, but hands over to
// us.
// `malloc_address`: what the public name is bound to.
void pass_start_beside(const void* malloc_address);

}  // namespace poolalloc
