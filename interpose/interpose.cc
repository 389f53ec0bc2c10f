// The names that the dynamic linker sees instead of libc's: entries.def, expanded; C++ operators are in operators.cc.
//
// Always holds: nothing is decided here; each entry is one call, into the api layer, the fast paths of malloc and free
// inlined into it. Who may use it: every program that is linked with or preloads the library.
#include "interpose/interpose.h"

#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "api/start.h"
#include "interpose/chained.h"

using namespace poolalloc;

#define ENTRY(result, name, parameters, arguments, function) \
  ENTRY_RETURNING(result, name, parameters, function arguments)
#define CHAINED(result, name, parameters, arguments, function, chained)
#define ENDING(result, name, parameters, arguments, function) \
  POOLALLOC_EXPORT result name parameters { function arguments; }
#include "interpose/entries.def"
#undef ENDING
#undef CHAINED
#undef ENTRY
