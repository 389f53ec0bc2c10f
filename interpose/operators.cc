// The names of C++ operator new and delete that the linker sees: entries.def, expanded (interpose.h).
//
// Always holds: nothing is decided here. Apart from the other names, so that a C program that is linked statically is
// asked for no C++ runtime. Who may use it: every program that is linked with or preloads the library.
#include "interpose/chained.h"
#include "interpose/interpose.h"
#include "interpose/operator_new.h"

using namespace poolalloc;

// Weak, so that a program that is linked statically may have its own operators, as the C++ standard allows.
#define CHAINED(result, name, parameters, arguments, function, chained) \
  POOLALLOC_EXPORT __attribute__((weak)) result name parameters;        \
  ENTRY_RETURNING(result, name, parameters, PA_UNLIKELY(names_replaced) ? chained : function arguments)
#define ENTRY(result, name, parameters, arguments, function)
#define ENDING(result, name, parameters, arguments, function)
#include "interpose/entries.def"
#undef ENDING
#undef ENTRY
#undef CHAINED
