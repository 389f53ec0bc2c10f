// Options from the environment.
//
// Always holds: read once, at start-up, from the environment as the kernel handed it over; until then
// the defaults are in force. Ignored in programs that run with more rights than their caller
// (AT_SECURE). A wrong value is reported in one line and the default is used.
// Who may use it: api.
#pragma once

#include <stdint.h>

namespace poolalloc {

struct Options {
  uint64_t stats;  // a summary at exit: 0 none, 1 of every process, else of the process of this number
  bool verbose;
};
extern constinit Options options;

// Called once, before main, by the start-up code.
void options_read(char** environment);

}  // namespace poolalloc
