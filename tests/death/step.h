/* A step of a program that misuses memory, in the first thread or in one apart.
 *
 * Always holds: the step is over when in_thread returns; a thread that cannot be had ends the program with exit code 8.
 */
#ifndef DEATH_STEP_H
#define DEATH_STEP_H
#include <pthread.h>
#include <stdlib.h>

static void in_thread(void* (*step)(void*), int apart) {
  pthread_t thread;
  if (!apart) {
    step(NULL);
  } else if (pthread_create(&thread, NULL, step, NULL) != 0 || pthread_join(thread, NULL) != 0) {
    _Exit(8);
  }
}

#endif
