// Every operator new and delete, called by its symbol. Always: each is defined by the tested library, gives writable
// memory of the asked alignment, and takes back what its partners gave.
#include "check.h"
#include <new>

static void *symbol(const char *name) {
  void *found = dlsym(RTLD_DEFAULT, name);
  LAW(found, "%s is not defined", name);
  LAW(from_tested_lib(found), "%s is not the tested library's", name);
  return found;
}

template <class Type> static Type function(const char *name) { return reinterpret_cast<Type>(symbol(name)); }

static const std::nothrow_t *const quiet = &std::nothrow;

static void *made(int form, bool array, size_t size, size_t alignment) {
  switch (form) {
    case 0: return function<void *(*)(size_t)>(array ? "_Znam" : "_Znwm")(size);
    case 1: return function<void *(*)(size_t, const std::nothrow_t *)>(array ? "_ZnamRKSt9nothrow_t"
                                                                             : "_ZnwmRKSt9nothrow_t")(size, quiet);
    case 2: return function<void *(*)(size_t, size_t)>(array ? "_ZnamSt11align_val_t" : "_ZnwmSt11align_val_t")(size, alignment);
    default:
      return function<void *(*)(size_t, size_t, const std::nothrow_t *)>(
          array ? "_ZnamSt11align_val_tRKSt9nothrow_t" : "_ZnwmSt11align_val_tRKSt9nothrow_t")(size, alignment, quiet);
  }
}

static void ended(int form, bool array, void *block, size_t size, size_t alignment) {
  switch (form) {
    case 0: return function<void (*)(void *)>(array ? "_ZdaPv" : "_ZdlPv")(block);
    case 1: return function<void (*)(void *, size_t)>(array ? "_ZdaPvm" : "_ZdlPvm")(block, size);
    case 2:
      return function<void (*)(void *, const std::nothrow_t *)>(array ? "_ZdaPvRKSt9nothrow_t"
                                                                      : "_ZdlPvRKSt9nothrow_t")(block, quiet);
    case 3: return function<void (*)(void *, size_t)>(array ? "_ZdaPvSt11align_val_t" : "_ZdlPvSt11align_val_t")(block, alignment);
    case 4:
      return function<void (*)(void *, size_t, size_t)>(array ? "_ZdaPvmSt11align_val_t" : "_ZdlPvmSt11align_val_t")(
          block, size, alignment);
    default:
      return function<void (*)(void *, size_t, const std::nothrow_t *)>(
          array ? "_ZdaPvSt11align_val_tRKSt9nothrow_t" : "_ZdlPvSt11align_val_tRKSt9nothrow_t")(block, alignment, quiet);
  }
}

int main() {
  static const size_t sizes[] = {0, 1, 24, 100, 1024, 5000, 70000, 3000000, 5000000};
  static const size_t alignments[] = {32, 64, 4096, 65536};
  for (size_t size : sizes)
    for (size_t alignment : alignments)
      for (int array = 0; array < 2; array++)
        for (int form = 0; form < 4; form++)
          for (int end = 0; end < 6; end++) {
            bool aligned = form >= 2;
            if (aligned != (end >= 3)) continue;  // C++ pairs aligned forms with aligned forms.
            void *block = made(form, array, size, alignment);
            LAW(block, "new form %d of %zu gave NULL", form, size);
            LAW((uintptr_t)block % (aligned ? alignment : 16) == 0, "new form %d of %zu gave %p", form, size, block);
            LAW(malloc_usable_size(block) >= size, "usable size of new form %d of %zu", form, size);
            fill_some(block, size, form);
            LAW(filled_some(block, size, form), "memory of new form %d", form);
            ended(end, array, block, size, alignment);
            ended(end, array, nullptr, size, alignment);
          }
  exercise_heap();
  return 0;
}
