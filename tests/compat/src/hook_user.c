/* A program under a chain of two preloaded libraries that both define malloc.
 * Always: RTLD_NEXT after the hook is the tested library; dlsym's error text is served in every thread, and freed with it. */
#include "check.h"

static void *fail_to_find(void *unused) {
  for (int i = 0; i < 100; i++) {
    LAW(!dlsym(RTLD_DEFAULT, "no_such_function_anywhere"), "dlsym found the absent");
    const char *text = dlerror();
    LAW(text && strstr(text, "no_such_function_anywhere"), "dlerror says '%s'", text ? text : "nothing");
    LAW(!dlopen("/no/such/library.so", RTLD_NOW), "dlopen found the absent");
    if (i % 2) LAW(dlerror(), "no dlerror after a failed dlopen");
  }
  return unused;
}

int main(int argc, char **argv) {
  int hook_first = argc > 1 && strcmp(argv[1], "hook-first") == 0;
  fail_to_find(NULL);
  for (int i = 0; i < 50; i++) {
    pthread_t thread;
    start_thread(&thread, fail_to_find, NULL);
    pthread_join(thread, NULL);
  }
  exercise_heap();
  long *calls = (long *)dlsym(RTLD_DEFAULT, "hook_calls");
  LAW(calls, "the hook is not loaded");
  if (hook_first) {
    LAW(*calls > 50, "the hook saw %ld calls only", *calls);
    LAW(!from_tested_lib((void *)malloc), "malloc passes the hook by");
  } else {
    LAW(*calls == 0, "the second library saw %ld calls", *calls);
    LAW(from_tested_lib((void *)malloc), "malloc is not the first library's");
  }
  return 0;
}
