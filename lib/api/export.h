// The mark of a function that the dynamic linker may see. Everything else is hidden.
//
// Who may use it: api and interpose.
#pragma once

#define POOLALLOC_EXPORT extern "C" __attribute__((visibility("default")))
