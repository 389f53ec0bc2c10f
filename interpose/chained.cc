// Names that call other names (chained.h).
//
// Always holds: what is called here by a public name is bound by the dynamic linker as in any other library, so to
// what stands first. Compiled with exceptions, because a program's operator new may throw.
// Who may use it: through chained.h.
#include "interpose/chained.h"

#include <stdlib.h>

#include "api/pass.h"
#include "base/bits.h"
#include "interpose/nothrow.h"
#include "interpose/operator_new.h"

// Whether two names stand for one function. The compiler takes them for two.
static bool is_one(const void* name, const void* own_name) {
  __asm__("" : "+r"(name));
  return name == own_name;
}

// The public names, and this library's own functions whatever those are bound to (interpose.cc).
#define NAME(result, name, parameters)                                                       \
  extern "C" __attribute__((visibility("default"))) result name parameters;                  \
  extern "C" __attribute__((visibility("hidden"))) const char own_##name;                    \
  namespace {                                                                                \
  bool name##_is_own() { return is_one(reinterpret_cast<const void*>(&name), &own_##name); } \
  }
NAME(void*, malloc, (size_t))
NAME(void, free, (void*))
NAME(void*, _Znwm, (size_t))
NAME(void*, _Znam, (size_t))
NAME(void*, _ZnwmSt11align_val_t, (size_t, size_t))
NAME(void*, _ZnamSt11align_val_t, (size_t, size_t))
NAME(void, _ZdlPv, (void*))
NAME(void, _ZdaPv, (void*))
NAME(void, _ZdlPvSt11align_val_t, (void*, size_t))
NAME(void, _ZdaPvSt11align_val_t, (void*, size_t))
#undef NAME

namespace poolalloc {

constinit bool names_replaced = false;

namespace {

// After the library has started.
__attribute__((constructor(102))) void look() {
  bool all_own = malloc_is_own() && free_is_own() && _Znwm_is_own() && _Znam_is_own() &&
                 _ZnwmSt11align_val_t_is_own() && _ZnamSt11align_val_t_is_own() && _ZdlPv_is_own() && _ZdaPv_is_own() &&
                 _ZdlPvSt11align_val_t_is_own() && _ZdaPvSt11align_val_t_is_own();
  names_replaced = !all_own;
  if (!malloc_is_own()) pass_start_beside(reinterpret_cast<const void*>(&::malloc));
}

}  // namespace

void* public_alloc(size_t size, size_t alignment) {
  if (alignment == 0) return ::malloc(size);
  // As C11 wants it; a size that cannot be rounded up is refused.
  size_t rounded = round_up(size, alignment);
  return ::aligned_alloc(alignment, rounded >= size ? rounded : size);
}

void* chained_new(size_t size) { return chained_new_aligned(size, 0); }
void* chained_new_aligned(size_t size, size_t alignment) {
  void* block = public_alloc(size, alignment);
  return block != nullptr ? block : new_failed(size, alignment, Maker::malloc, nullptr);
}
void* chained_new_array(size_t size) { return _Znwm(size); }
void* chained_new_array_aligned(size_t size, size_t alignment) { return _ZnwmSt11align_val_t(size, alignment); }
void* chained_new_nothrow(size_t size) {
  return or_nullptr([=] { return _Znwm(size); });
}
void* chained_new_array_nothrow(size_t size) {
  return or_nullptr([=] { return _Znam(size); });
}
void* chained_new_aligned_nothrow(size_t size, size_t alignment) {
  return or_nullptr([=] { return _ZnwmSt11align_val_t(size, alignment); });
}
void* chained_new_array_aligned_nothrow(size_t size, size_t alignment) {
  return or_nullptr([=] { return _ZnamSt11align_val_t(size, alignment); });
}

void chained_delete(void* p) { ::free(p); }
void chained_delete_to_base(void* p) { _ZdlPv(p); }
void chained_delete_to_array(void* p) { _ZdaPv(p); }
void chained_delete_aligned_to_base(void* p, size_t alignment) { _ZdlPvSt11align_val_t(p, alignment); }
void chained_delete_aligned_to_array(void* p, size_t alignment) { _ZdaPvSt11align_val_t(p, alignment); }

}  // namespace poolalloc
