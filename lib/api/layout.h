// What tools outside the process must know to read its memory (layout.def), as tables in the library.
//
// Always holds: constant; its first page is not touched but by those who read it.
// Who may use it: api.
#pragma once

#include <stdint.h>

namespace poolalloc {

struct LayoutVariable {
  char name[24];
  const volatile void* address;
};
// "Type.member" with its offset and size, "Type" with its size, or a number by its name.
struct LayoutNumber {
  char name[32];
  uint32_t value;
  uint32_t size;
};

extern const LayoutVariable layout_variables[];
extern const unsigned layout_variable_count;
extern const LayoutNumber layout_numbers[];
extern const unsigned layout_number_count;

}  // namespace poolalloc
