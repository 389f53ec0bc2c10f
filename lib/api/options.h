// Options from the environment.
//
// Always holds: read once, at start-up, from the environment as the kernel handed it over; until then
// the defaults are in force. Ignored in programs that run with more rights than their caller
// (AT_SECURE). A wrong value is reported in one line and the default is used.
// Who may use it: api.
#pragma once

namespace poolalloc {

struct Options {
  bool stats;  // a summary at exit is wanted, in this process
  bool verbose;
};
extern constinit Options options;

// Called once, before main, by the start-up code.
void options_read(char** environment);

}  // namespace poolalloc
