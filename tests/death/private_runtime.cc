// A program with a C++ runtime of its own (-static-libstdc++) exchanges objects with a library that has none.
// private_runtime PLUGIN
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

struct Object {
  char name[100];
};

#ifdef PLUGIN
extern "C" Object* plugin_make() { return new Object(); }
extern "C" void plugin_end(Object* object) { delete object; }
#else
int main(int, char** arguments) {
  void* plugin = dlopen(arguments[1], RTLD_NOW);
  if (plugin == nullptr) return puts(dlerror()), 1;
  auto make = reinterpret_cast<Object* (*)()>(dlsym(plugin, "plugin_make"));
  auto end = reinterpret_cast<void (*)(Object*)>(dlsym(plugin, "plugin_end"));
  for (int i = 0; i < 100; i++) {
    end(new Object());
    delete make();
  }
  puts("alive");
}
#endif
