// counted_operators: with malloc_counter.c before the allocator, every operator new is a malloc, every delete a free.
#include <new>

#include "check.h"

extern "C" {
extern long counted_mallocs __attribute__((weak));
extern long counted_frees __attribute__((weak));
}

int main() {
  LAW(&counted_mallocs, "no counter here");
  long mallocs = counted_mallocs, frees = counted_frees;
  for (int i = 0; i < 1000; i++) {
    ::operator delete(opaque(::operator new(opaque_n(10))));
    ::operator delete[](opaque(::operator new[](opaque_n(10))), std::size_t{10});
    ::operator delete(opaque(::operator new(opaque_n(10), std::nothrow)));
  }
  LAW(counted_mallocs - mallocs == 3000, "%ld of 3000 calls seen", counted_mallocs - mallocs);
  LAW(counted_frees - frees == 3000, "%ld of 3000 frees seen", counted_frees - frees);
  return 0;
}
