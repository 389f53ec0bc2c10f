// What operator new does when there is no memory (operator_new.h).
//
// Always holds: the C++ runtime is that of the object that has called, which may have one of its own; or that which was
// there when the program started; or one that was loaded later. With no runtime at all, a throwing form aborts with a
// message. This file alone is compiled with exceptions, because a handler may throw through or into it. Who may use it:
// through operator_new.h.
#include "interpose/operator_new.h"

#include <dlfcn.h>

#include "base/bits.h"
#include "interpose/chained.h"
#include "interpose/cxx_runtime.h"
#include "interpose/nothrow.h"
#include "os/message.h"
#include "os/place.h"

namespace poolalloc {
namespace {

// What the name leads to from the object whose code has called; nullptr: nothing, or that object is the program.
void* callers_symbol(const void* caller, const char* name) {
  Dl_info place;
  if (caller == nullptr || !os_library_is_apart() || os_is_own_place(caller) || dladdr(caller, &place) == 0)
    return nullptr;
  void* object = dlopen(place.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (object == nullptr) return nullptr;
  void* symbol = dlsym(object, name);
  dlclose(object);
  return symbol;
}

// A function of the C++ runtime.
template <typename Function>
Function* runtime_function(Function* linked, const void* caller, const char* name) {
  if (void* own = callers_symbol(caller, name)) return reinterpret_cast<Function*>(own);
  if (linked != nullptr) return linked;
  constexpr const char* kRuntimes[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
  for (const char* library : kRuntimes) {
    void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    void* symbol = handle != nullptr ? dlsym(handle, name) : nullptr;
    if (symbol != nullptr) return reinterpret_cast<Function*>(symbol);
  }
  return nullptr;
}

[[noreturn]] void throw_bad_alloc(const void* caller) {
  auto* throw_function = runtime_function(cxx_runtime.throw_bad_alloc, caller, "_ZSt17__throw_bad_allocv");
  if (throw_function != nullptr) throw_function();
  // A runtime that was linked into a library may lack that function, but has an operator new, which fails by itself.
  void* next = callers_symbol(caller, "_Znwm");
  if (next != nullptr && !os_is_own_place(next)) reinterpret_cast<void* (*)(size_t)>(next)(SIZE_MAX);
  Message message;
  message.text("operator new: out of memory, and no C++ runtime to throw std::bad_alloc").send();
  os_abort();
}

// Calls the new_handler until there is memory or no handler; nullptr then. What it returns suits the operator delete
// that the program has: this library's, or one that ends in a free that anybody may have replaced.
void* call_handlers(size_t size, size_t alignment, Maker maker, const void* caller) {
  auto* get_handler = runtime_function(cxx_runtime.get_new_handler, caller, "_ZSt15get_new_handlerv");
  for (;;) {
    NewHandler handler = get_handler != nullptr ? get_handler() : nullptr;
    if (handler == nullptr) return nullptr;
    handler();
    void* block = names_replaced ? public_alloc(size, alignment) : memalign_for(maker, alignment, size);
    if (block != nullptr) return block;
  }
}

// A program without a C++ runtime cannot catch what a handler throws; the library that has called can.
void* callers_nothrow(size_t size, size_t alignment, Maker maker, const void* caller) {
  constexpr const char* kNames[2][2] = {{"_ZnwmRKSt9nothrow_t", "_ZnwmSt11align_val_tRKSt9nothrow_t"},
                                        {"_ZnamRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t"}};
  void* own = callers_symbol(caller, kNames[maker == Maker::new_array][alignment != 0]);
  // Any object will do for std::nothrow.
  if (own == nullptr || os_is_own_place(own)) return call_handlers(size, alignment, maker, caller);
  if (alignment == 0) return reinterpret_cast<void* (*)(size_t, const void*)>(own)(size, own);
  return reinterpret_cast<void* (*)(size_t, size_t, const void*)>(own)(size, alignment, own);
}

}  // namespace

PA_COLD void* new_failed(size_t size, size_t alignment, Maker maker, const void* caller) {
  void* block = call_handlers(size, alignment, maker, caller);
  if (block == nullptr) throw_bad_alloc(caller);
  return block;
}

PA_COLD void* new_failed_nothrow(size_t size, size_t alignment, Maker maker, const void* caller) {
  if (!can_catch()) return callers_nothrow(size, alignment, maker, caller);
  return or_nullptr([=] { return call_handlers(size, alignment, maker, caller); });
}

}  // namespace poolalloc
