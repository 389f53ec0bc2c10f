// The profile as a file that pprof reads: gzip around a protocol buffer (github.com/google/pprof, proto/profile.proto).
//
// Sample types: alloc_objects and alloc_space (all that was allocated since the profile began), inuse_objects and
// inuse_space (now), peak_objects and peak_space (when most was in use), and, where somebody has looked for what
// nothing points to, lost_objects and lost_space. Addresses are of calls; with the process's mappings, readers find the
// names of functions by themselves.
//
// Always holds: nothing is allocated but from the kernel. Who may use it: api.
#pragma once

#include "inspect/growing.h"

namespace poolalloc {

// Adds the bytes of such a file; false: no memory, or there is no profile.
bool pprof_make(Growing<char>& file);

}  // namespace poolalloc
