/* own_library <library>: loads the tested library by dlopen in a program that runs on the C library's malloc.
 * Always: loading works, also late and in many threads' presence; its functions work; closing it takes nothing away. */
#include "check.h"

static void *(*lib_malloc)(size_t);
static void (*lib_free)(void *);

static void *body(void *unused) {
  for (int i = 0; i < 2000; i++) {
    size_t size = 1 + (size_t)i * 37;
    void *block = lib_malloc(size);
    LAW(block, "malloc(%zu) of the loaded library", size);
    fill_some(block, size, i);
    LAW(filled_some(block, size, i), "a block of the loaded library");
    lib_free(block);
  }
  return unused;
}

static void *wait_for_it(void *unused) {
  while (!__atomic_load_n(&lib_free, __ATOMIC_ACQUIRE)) usleep(1000);
  return body(unused);
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  pthread_t early, late[4];
  start_thread(&early, wait_for_it, NULL);
  for (int round = 0; round < 20; round++) {
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    LAW(library, "dlopen: %s", dlerror());
    *(void **)&lib_malloc = dlsym(library, "malloc");
    void *found = dlsym(library, "free");
    LAW(lib_malloc && found, "its malloc and free");
    __atomic_store_n((void **)&lib_free, found, __ATOMIC_RELEASE);
    for (int i = 0; i < 4; i++) start_thread(&late[i], body, NULL);
    void *kept = lib_malloc(3000);
    fill(kept, 3000, 4);
    for (int i = 0; i < 4; i++) pthread_join(late[i], NULL);
    if (round == 0) pthread_join(early, NULL);
    dlclose(library);
    LAW(filled(kept, 3000, 4), "closing the library took a live block");
    exercise_heap();
  }
  return 0;
}
