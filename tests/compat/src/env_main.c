/* A program that changes its environment all the time: in a constructor (env_lib.c) and in eight threads, with strings that
 * are freed afterwards. Always: nobody reads the environment of earlier times, whatever is called for the first time late. */
#include "check.h"

static char *own[8];

static void *body(void *argument) {
  long number = (long)argument;
  char name[32];
  for (int i = 0; i < 3000; i++) {
    snprintf(name, sizeof name, "POOLALLOC_T%ld_%d", number, i % 50);
    LAW(setenv(name, "a value of some length", 1) == 0, "setenv");
    if (i % 3 == 0) unsetenv(name);
    if (i % 100 == 0) {
      char *text = malloc(64), *old = own[number];
      snprintf(text, 64, "OWN_%ld=%d", number, i);
      LAW(putenv(own[number] = text) == 0, "putenv");
      if (old) memset(old, '#', 8);
      free(old);
    }
    if (i % 1000 == 999 && number == 0) clearenv();
    free(malloc((size_t)i * 10));
  }
  return NULL;
}

static void *short_lived(void *unused) {
  exercise_heap();
  return unused;
}

static void start_and_join(int count, void *(*entry)(void *)) {
  pthread_t thread[8];
  for (long i = 0; i < count; i++) start_thread(&thread[i], entry, (void *)i);
  for (long i = 0; i < count; i++) pthread_join(thread[i], NULL);
}

int main(void) {
  void (*env_page_removed)(void) = NULL;
  *(void **)&env_page_removed = dlsym(RTLD_DEFAULT, "env_page_removed");
  LAW(env_page_removed, "the library with the constructor is not loaded");
  env_page_removed();
  start_and_join(8, body);
  for (int i = 0; i < 20; i++) start_and_join(4, short_lived);
  malloc_trim(0);
  (void)mallinfo2();
  free(foreign_pointer());  /* An invalid pointer: the policy is asked for here, if it is asked for late. */
  exercise_heap();
  return 0;
}
