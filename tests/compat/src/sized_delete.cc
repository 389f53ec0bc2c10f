// Deletes with a wrong size, and of a derived object through a base without a virtual destructor: undefined, yet common.
// Always: the heap stays whole: live neighbours keep their bytes and nothing is handed out twice.
#include "check.h"
#include <new>
#include <vector>

// The sized forms by their symbols, so that they are called whether or not the compiler would choose them.
void delete_sized(void *, size_t) __asm__("_ZdlPvm");
void delete_array_sized(void *, size_t) __asm__("_ZdaPvm");
void delete_sized_aligned(void *, size_t, size_t) __asm__("_ZdlPvmSt11align_val_t");

struct Base { long first; };
struct Derived : Base { char more[3000]; };

static std::vector<unsigned char *> live;
static std::vector<size_t> live_size;

static void keep(size_t size) {
  unsigned char *block = static_cast<unsigned char *>(malloc(size));
  fill(block, size, (unsigned)live.size());
  live.push_back(block);
  live_size.push_back(size);
}

int main() {
  static const size_t sizes[] = {1, 8, 24, 100, 1000, 1024, 5000, 9000, 40000, 200000, 5000000};
  for (int round = 0; round < 30; round++)
    for (size_t size : sizes)
      for (size_t wrong : sizes) {
        void *block = operator new(size);
        memset(block, 1, size);
        if (size < 20000) keep(size);
        delete_sized(opaque(block), wrong);
        delete_array_sized(opaque(operator new[](size)), wrong);
        delete_sized_aligned(opaque(operator new(size, std::align_val_t(64))), wrong, 64);
        if (free_sized) free_sized(opaque(malloc(size)), wrong);
        if (free_aligned_sized) free_aligned_sized(opaque(aligned_alloc(64, 64 * size)), 64, wrong);
        if (live.size() > 2000) {
          for (size_t i = 0; i < live.size(); i++) {
            LAW(filled(live[i], live_size[i], (unsigned)i), "a live block of %zu bytes has changed", live_size[i]);
            free(live[i]);
          }
          live.clear();
          live_size.clear();
        }
      }
  for (int i = 0; i < 1000; i++) {
    Base *object = new Derived;
    delete static_cast<Base *>(opaque(object));  // sized delete with sizeof(Base)
  }
  exercise_heap();
  return 0;
}
