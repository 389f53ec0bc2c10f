// A program that replaces some of operator new and delete (the macro says which), and is linked with the static
// library. Always: every form that the program lacks ends in the ones that it has, as the C++ standard says.
#include <new>
#include <string>

#include "check.h"

static int made, gone;

#ifdef PLAIN
void* operator new(size_t size) { return made++, malloc(size); }
void operator delete(void* block) noexcept { gone++, free(block); }
#define FORMS 6
#endif
#ifdef ALIGNED
void* operator new(size_t size, std::align_val_t alignment) { return made++, memalign(size_t(alignment), size); }
void operator delete(void* block, std::align_val_t) noexcept { gone++, free(block); }
#define FORMS 4
#endif

int main() {
  struct alignas(256) Wide {
    char bytes[512];
    ~Wide() { opaque(this); }
  };
#ifdef PLAIN
  delete (std::string*)opaque(new std::string);
  ::operator delete(opaque(::operator new(opaque_n(10))), size_t(10));
  ::operator delete[](opaque(::operator new[](opaque_n(10))));
  ::operator delete[](opaque(::operator new[](opaque_n(10))), size_t(10));
  ::operator delete(opaque(::operator new(opaque_n(10), std::nothrow)), std::nothrow);
  ::operator delete[](opaque(::operator new[](opaque_n(10), std::nothrow)), std::nothrow);
#else
  delete (Wide*)opaque(new Wide);
  delete[](Wide*) opaque(new Wide[3]);
  delete (Wide*)opaque(new (std::nothrow) Wide);
  delete[](Wide*) opaque(new (std::nothrow) Wide[2]);
#endif
  LAW(made == FORMS && gone == FORMS, "%d made and %d gone of %d", made, gone, FORMS);
  // What the program has not replaced is the library's.
  void* block = malloc(opaque_n(100));
  LAW(malloc_usable_size(block) == 112, "usable: %zu", malloc_usable_size(block));
  free(block);
  return 0;
}
