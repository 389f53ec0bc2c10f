// The names that the dynamic linker sees instead of libc's: entries.def, expanded.
//
// Always holds: nothing is decided here; each entry is one call, into the api layer or operator_new.h, the fast paths
// of malloc and free inlined into it. Who may use it: every program that is linked with or preloads the library.
#include "api/export.h"
#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "interpose/operator_new.h"

using namespace poolalloc;

#define ENTRY(result, name, parameters, arguments, function) \
  POOLALLOC_EXPORT result name parameters { return function arguments; }
#include "interpose/entries.def"
#undef ENTRY
