// How a line of entries.def becomes a function that programs are bound to.
//
// Who may use it: interpose.cc and operators.cc.
#pragma once

#include "api/export.h"

// The second name is not exported: it stands for this function whatever the first one is bound to.
#define ENTRY_RETURNING(result, name, parameters, expression)    \
  POOLALLOC_EXPORT result name parameters { return expression; } \
  __asm__(".globl own_" #name "\n.hidden own_" #name "\n.set own_" #name ", " #name);
