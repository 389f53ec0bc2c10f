// The names that the dynamic linker sees instead of libc's: entries.def, expanded.
//
// Always holds: nothing is decided here; each entry is one call, into the api layer or operator_new.h, the fast paths
// of malloc and free inlined into it. Who may use it: every program that is linked with or preloads the library.
#include "api/export.h"
#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "api/start.h"
#include "interpose/chained.h"
#include "interpose/operator_new.h"

using namespace poolalloc;

// The second name is not exported: it stands for this function whatever the first one is bound to.
#define ENTRY_RETURNING(result, name, parameters, expression)    \
  POOLALLOC_EXPORT result name parameters { return expression; } \
  __asm__(".globl own_" #name "\n.hidden own_" #name "\n.set own_" #name ", " #name);
#define ENTRY(result, name, parameters, arguments, function) \
  ENTRY_RETURNING(result, name, parameters, function arguments)
#define CHAINED(result, name, parameters, arguments, function, chained) \
  ENTRY_RETURNING(result, name, parameters, PA_UNLIKELY(names_replaced) ? chained : function arguments)
#define ENDING(result, name, parameters, arguments, function) \
  POOLALLOC_EXPORT result name parameters { function arguments; }
#include "interpose/entries.def"
#undef ENDING
#undef CHAINED
#undef ENTRY
