/* A C program that calls a library: linked with it, or loading the one that its argument names, for itself alone.
 * Always: the library's function is called, and its status is the program's. */
#include "check.h"

int out_of_memory(void) __attribute__((weak));

int main(int argc, char **arguments) {
  int (*call)(void) = out_of_memory;
  if (argc > 1) {
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    LAW(library != NULL, "%s", dlerror());
    call = (int (*)(void))dlsym(library, "out_of_memory");
  }
  LAW(call != NULL, "no such function");
  return call();
}
