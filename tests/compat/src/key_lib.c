/* A library that makes a thread-specific key in its constructor and leaves its destructor to the program, before the
 * program's own ones. Always: the key's destructor calls the program's function, if there is one. */
#include "check.h"

pthread_key_t early_key;
void (*early_destructor)(void *);

static void forward(void *value) {
  if (early_destructor) early_destructor(value);
}

__attribute__((constructor)) static void start(void) { LAW(pthread_key_create(&early_key, forward) == 0, "key"); }
