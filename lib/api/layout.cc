// What tools outside the process must know to read its memory (layout.h).
//
// Who may use it: through layout.h.
#include "api/layout.h"

#include <stddef.h>

#include "api/profile.h"
#include "chunk/accounts.h"
#include "chunk/extent_map.h"
#include "chunk/extent_space.h"
#include "chunk/region.h"
#include "heap/evict.h"
#include "heap/guard.h"
#include "heap/misuse.h"
#include "heap/next_allocator.h"
#include "heap/program_heap.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "heap/usage.h"

namespace poolalloc {
namespace {

// Of one element, if it is an array.
template <typename T>
struct ElementSize {
  static constexpr uint32_t value = sizeof(T);
};
template <typename T, size_t kCount>
struct ElementSize<T[kCount]> {
  static constexpr uint32_t value = sizeof(T);
};

}  // namespace

#define VARIABLE(name, object) {#name, &object},
constinit const LayoutVariable layout_variables[] = {
#include "api/layout.def"
};
#undef VARIABLE
constexpr unsigned layout_variable_count = sizeof layout_variables / sizeof *layout_variables;

#define MEMBER(type, name) {#type "." #name, offsetof(type, name), ElementSize<decltype(type::name)>::value},
#define SIZE(type) {#type, sizeof(type), 0},
#define NUMBER(name, value) {#name, uint32_t(value), 0},
constexpr LayoutNumber layout_numbers[] = {
#include "api/layout.def"
};
#undef MEMBER
#undef SIZE
#undef NUMBER
constexpr unsigned layout_number_count = sizeof layout_numbers / sizeof *layout_numbers;

}  // namespace poolalloc
