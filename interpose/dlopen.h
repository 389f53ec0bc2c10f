// dlopen without RTLD_DEEPBIND. A library that is loaded so binds malloc and free to libc's, whatever was preloaded,
// and frees with these what the program has allocated, or the other way round.
//
// Always holds: everything here is a tail call, so that libc's dlopen sees who has called: from that it knows where to
// look for the file.
// Who may use it: interpose.
#pragma once

#include <dlfcn.h>

namespace poolalloc {

using Dlopen = void* (*)(const char* file, int mode);

// libc's, or whose is next. Synchronization: threads that find out at the same time find the same.
extern constinit Dlopen next_dlopen;

inline void* dlopen_shallow(const char* file, int mode) { return next_dlopen(file, mode & ~RTLD_DEEPBIND); }

}  // namespace poolalloc
