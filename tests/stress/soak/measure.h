// How much memory the soak program's days take, and whether that is too much.
//
// Always holds: days are compared by the same hours, at rest.
// Who may use it: the soak program, its main thread.
#pragma once

#include "shard.h"

constexpr unsigned kDaysMost = 16;

// Of a day: means over its calm evening, and what was there at the end of its last burst. Bytes.
struct Measured {
  double ratio, live, resident;
  double free, kept;  // what the library says that is resident besides: in pools, and for the next ones
  int64_t burst_live, burst_resident;
  unsigned count;
};

// Before a half-hour, while all workers rest.
void measure(unsigned day, unsigned half_hour);
const Measured& measured_on(unsigned day);
// Of what has been freed since the burst, the part that is no longer resident.
double went_back(const Measured& day);

// When everything has been freed; and after malloc_trim. Bytes.
struct AtEnd {
  int64_t resident, resident_trimmed;
};

// The verdict, printed.
bool memory_is_good(const AtEnd& at_end);
