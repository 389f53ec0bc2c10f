// What operator new needs of the C++ runtime when there is no memory.
//
// Always holds: the shared library refers to it weakly, because a C program has none (cxx_runtime_shared.cc); a static
// program that has operators is a C++ program and gets it linked in (cxx_runtime_static.cc). Who may use it:
// operator_new.cc.
#pragma once

namespace poolalloc {

using NewHandler = void (*)();

struct CxxRuntime {
  NewHandler (*get_new_handler)();  // std::get_new_handler; nullptr: there was no runtime when the program started
  void (*throw_bad_alloc)();        // std::__throw_bad_alloc; the same
};
extern const CxxRuntime cxx_runtime;

}  // namespace poolalloc
