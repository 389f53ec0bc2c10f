/* plugin_user <deepbind|namespace> <plugin>: loads the plugin so that its malloc may be another one than the program's.
 * Always: both allocators work side by side; the program may hand the plugin's memory to its own free and realloc, which
 * either take it or, if the plugin is bound to another allocator, leave it as it is. */
#include "check.h"

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  int deep = strcmp(argv[1], "deepbind") == 0;
  for (int round = 0; round < 3; round++) {
    void *plugin = deep ? dlopen(argv[2], RTLD_NOW | RTLD_DEEPBIND) : dlmopen(LM_ID_NEWLM, argv[2], RTLD_NOW);
    LAW(plugin, "loading the plugin: %s", dlerror());
    void *(*make)(size_t) = NULL;
    void (*end)(void *) = NULL;
    int (*works)(void) = NULL;
    *(void **)&make = dlsym(plugin, "plugin_make");
    *(void **)&end = dlsym(plugin, "plugin_end");
    *(void **)&works = dlsym(plugin, "plugin_works");
    LAW(make && end && works, "the plugin's symbols");
    for (int i = 0; i < 20; i++) {
      LAW(works(), "the plugin's blocks have changed");
      exercise_heap();
      end(make(100));
      void *block = make(1000);
      LAW(filled(block, 1000, 9), "the plugin's block");
      void *moved = realloc(opaque(block), 5000);
      LAW(filled(moved ? moved : block, 1000, 9), "realloc of the plugin's block lost bytes");
      free(moved);
      free(opaque(make(1000)));
      free(opaque(make(300000)));
    }
    LAW(works(), "the plugin's blocks have changed");
    dlclose(plugin);
  }
  exercise_heap();
  return 0;
}
