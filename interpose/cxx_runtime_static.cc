// The C++ runtime's functions (cxx_runtime.h), by references that the linker must resolve.
//
// Who may use it: the static library.
#include "interpose/cxx_runtime.h"

extern "C" {
poolalloc::NewHandler _ZSt15get_new_handlerv();
void _ZSt17__throw_bad_allocv();
}

namespace poolalloc {

const CxxRuntime cxx_runtime{_ZSt15get_new_handlerv, _ZSt17__throw_bad_allocv};

}  // namespace poolalloc
