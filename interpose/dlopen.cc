// dlopen without RTLD_DEEPBIND (dlopen.h).
//
// Who may use it: through dlopen.h.
#include "interpose/dlopen.h"

namespace poolalloc {
namespace {

void* dlopen_first(const char* file, int mode) {
  next_dlopen = reinterpret_cast<Dlopen>(dlsym(RTLD_NEXT, "dlopen"));
  return next_dlopen != nullptr ? next_dlopen(file, mode) : nullptr;
}

}  // namespace

constinit Dlopen next_dlopen = dlopen_first;

}  // namespace poolalloc
