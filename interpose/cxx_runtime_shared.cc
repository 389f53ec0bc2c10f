// The C++ runtime's functions (cxx_runtime.h), by weak references.
//
// Who may use it: the shared library.
#include "interpose/cxx_runtime.h"

extern "C" {
__attribute__((weak)) poolalloc::NewHandler _ZSt15get_new_handlerv();
__attribute__((weak)) void _ZSt17__throw_bad_allocv();
}

namespace poolalloc {

const CxxRuntime cxx_runtime{_ZSt15get_new_handlerv, _ZSt17__throw_bad_allocv};

}  // namespace poolalloc
