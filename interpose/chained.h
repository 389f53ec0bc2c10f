// Names that call other names: by the C++ standard all forms of operator new and delete end in the two that a program
// may replace, those in malloc and free; and glibc's reallocarray calls realloc.
//
// Always holds: while every such name is this library's, which one look at start tells, entries do not go through here.
// Before that look they are taken to be.
// Who may use it: interpose.
#pragma once

#include <stddef.h>

#include "base/check.h"

namespace poolalloc {

// Whether malloc, free, operator new or delete are not this library's everywhere: the program has its own, or a tool
// stands before them. Synchronization: written once, before a second thread exists.
extern constinit bool names_replaced;

// By public names alone; alignment 0: none asked for. nullptr when there is no memory.
void* public_alloc(size_t size, size_t alignment);

// What the forms of operator new and delete do by default.
void* chained_new(size_t size);
void* chained_new_array(size_t size);
void* chained_new_nothrow(size_t size);
void* chained_new_array_nothrow(size_t size);
void* chained_new_aligned(size_t size, size_t alignment);
void* chained_new_array_aligned(size_t size, size_t alignment);
void* chained_new_aligned_nothrow(size_t size, size_t alignment);
void* chained_new_array_aligned_nothrow(size_t size, size_t alignment);
void chained_delete(void* p);           // of operator delete(void*): free
void chained_delete_to_base(void* p);   // of those that call operator delete(void*)
void chained_delete_to_array(void* p);  // of those that call operator delete[](void*)
void chained_delete_aligned_to_base(void* p, size_t alignment);
void chained_delete_aligned_to_array(void* p, size_t alignment);

void* chained_reallocarray(void* p, size_t count, size_t size);

}  // namespace poolalloc
