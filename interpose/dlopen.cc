// dlopen without RTLD_DEEPBIND. A library that is loaded so binds malloc and free to libc's, whatever was preloaded,
// and frees with these what the program has allocated, or the other way round.
//
// Always holds: everything here is a tail call, so that libc's dlopen sees who has called: from that it knows where to
// look for the file. It has the name dlopen in the shared library alone (meson.build): a static program has no next
// one. Who may use it: the dynamic linker.
#include <dlfcn.h>

#include "api/export.h"
#include "os/libc.h"

namespace poolalloc {
namespace {

using Dlopen = void* (*)(const char* file, int mode);

void* dlopen_first(const char* file, int mode);

// libc's, or whose is next. Synchronization: threads that find out at the same time find the same.
constinit Dlopen next_dlopen = dlopen_first;

void* dlopen_first(const char* file, int mode) {
  next_dlopen = reinterpret_cast<Dlopen>(dlsym(RTLD_NEXT, "dlopen"));
  return next_dlopen != nullptr ? next_dlopen(file, mode) : nullptr;
}

}  // namespace
}  // namespace poolalloc

POOLALLOC_EXPORT void* poolalloc_dlopen(const char* file, int mode) {
  return poolalloc::next_dlopen(file, mode & ~RTLD_DEEPBIND);
}
