// Takes a trace's steps, and looks whether what the library does is what the shadow says.
//
// Who may use it: the programs that have traces: replay.cc and fuzzer.cc.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace fuzz {

// Once, before the first trace: handlers, and what libraries allocate when they are first used. Files go to `folder`.
void process_begin(const char* folder);
// The whole trace, in this process, which is as it was before at the end. A violated law ends the process.
void trace_run(const uint8_t* data, size_t size);
// The same in a child, where the library is as it was when the last trace began; `at_end` runs in the child when it is
// over. False, and a line on stderr: the child has not ended well.
bool trace_run_in_child(const uint8_t* data, size_t size, void (*at_end)());
// What its steps are, a line each, on stdout.
void trace_print(const uint8_t* data, size_t size);
// How many steps traces have had.
uint64_t steps_taken();

}  // namespace fuzz
