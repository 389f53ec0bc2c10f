// A library that is loaded and unloaded again and again, and leaves something each time: a block for the program to free,
// and a thread_local object whose destructor runs when the thread ends. Always: the destructor finds its block intact.
#include "check.h"

struct Object {
  void *block = malloc(4000);
  Object() { fill(block, 4000, 6); }
  ~Object() {
    LAW(filled(block, 4000, 6), "a thread_local object's block has changed");
    free(block);
  }
};

static thread_local Object object;

extern "C" void *leave_something() {
  LAW(filled(object.block, 4000, 6), "a thread_local object's block has changed");
  void *block = malloc(10000);
  fill(block, 10000, 7);
  return block;
}
