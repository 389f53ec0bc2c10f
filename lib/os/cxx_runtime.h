// Whether operator new means the same everywhere in the program.
//
// Who may use it: the hardened library.
#pragma once

namespace poolalloc {

// Whether a loaded object has a C++ runtime within itself, as -static-libstdc++ links it: its operator new and delete
// end in malloc and free, and it may exchange objects with others, whose operators are this library's. Slow; true if
// it cannot be told, which is so in a forked child.
bool os_has_private_cxx_runtime();

}  // namespace poolalloc
