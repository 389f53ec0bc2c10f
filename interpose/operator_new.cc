// What operator new does when there is no memory (operator_new.h).
//
// Always holds: the C++ runtime's functions are weak references, and where the runtime was loaded
// later they are looked up by name; with no runtime at all, a throwing form aborts with a message.
// This file alone is compiled with exceptions, because a handler may throw through or into it.
// Who may use it: through operator_new.h.
#include "interpose/operator_new.h"

#include <dlfcn.h>

#include "interpose/chained.h"
#include "interpose/nothrow.h"
#include "os/message.h"

using NewHandler = void (*)();

extern "C" {
__attribute__((weak)) NewHandler _ZSt15get_new_handlerv();        // std::get_new_handler
__attribute__((weak, noreturn)) void _ZSt17__throw_bad_allocv();  // std::__throw_bad_alloc
}

namespace poolalloc {
namespace {

// A function of the C++ runtime: the weak reference, or the name in a runtime that came by dlopen.
template <typename Function>
Function* runtime_function(Function* linked, const char* name) {
  if (linked != nullptr) return linked;
  constexpr const char* kRuntimes[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
  for (const char* library : kRuntimes) {
    void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    void* symbol = handle != nullptr ? dlsym(handle, name) : nullptr;
    if (symbol != nullptr) return reinterpret_cast<Function*>(symbol);
  }
  return nullptr;
}

[[noreturn]] void throw_bad_alloc() {
  auto* throw_function = runtime_function(_ZSt17__throw_bad_allocv, "_ZSt17__throw_bad_allocv");
  if (throw_function != nullptr) throw_function();
  Message message;
  message.text("operator new: out of memory, and no C++ runtime to throw std::bad_alloc").send();
  os_abort();
}

// Calls the new_handler until there is memory or no handler; nullptr then. What it returns suits the operator delete
// that the program has: this library's, or one that ends in a free that anybody may have replaced.
void* call_handlers(size_t size, size_t alignment, Maker maker) {
  auto* get_handler = runtime_function(_ZSt15get_new_handlerv, "_ZSt15get_new_handlerv");
  for (;;) {
    NewHandler handler = get_handler != nullptr ? get_handler() : nullptr;
    if (handler == nullptr) return nullptr;
    handler();
    void* block = names_replaced ? public_alloc(size, alignment) : memalign_for(maker, alignment, size);
    if (block != nullptr) return block;
  }
}

}  // namespace

PA_COLD void* new_failed(size_t size, size_t alignment, Maker maker) {
  void* block = call_handlers(size, alignment, maker);
  if (block == nullptr) throw_bad_alloc();
  return block;
}

PA_COLD void* new_failed_nothrow(size_t size, size_t alignment, Maker maker) {
  return or_nullptr([=] { return call_handlers(size, alignment, maker); });
}

}  // namespace poolalloc
