// Options from the environment.
//
// Always holds: read at start-up from the environment as the kernel handed it over; until then the defaults are in
// force. Ignored in programs that run with more rights than their caller (AT_SECURE). A wrong value is reported in one
// line and the default is used; so is a name that is none of ours. The program may change some of them later.
// Who may use it: api.
#pragma once

#include <stdint.h>

namespace poolalloc {

struct Options {
  uint64_t stats;            // a summary at exit: 0 none, 1 of every process, else of the process of this number
  const char* stats_folder;  // where each process keeps its figures in a file (api/stats_file.h); nullptr: nowhere
  const char* stats_file;    // where the figures of each process go as JSON at its end; "": stderr; nullptr: nowhere
  const char* map_file;      // where a map of each process's heap goes at its end; nullptr: nowhere
  const char* disabled;      // "1", or the names of programs (api/pass.h); nullptr: none
  bool verbose;
};
extern constinit Options options;

// Called once, before main, by the start-up code.
void options_read(char** environment);

// Changes an option by its name in options.def. One thread at a time.
enum class OptionSet { done, no_such_option, no_such_value, too_late };
OptionSet option_set(const char* name, const char* value);
// What it was set to, or the default; nullptr: there is no such option.
const char* option_value(const char* name);

}  // namespace poolalloc
