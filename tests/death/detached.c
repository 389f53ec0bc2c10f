// Detached threads that never allocate, one after the other: at the end of one libc frees what it kept of another. The
// arguments say how many; after each lot KiB that are resident are printed.
//
// Always holds: writes a line for each argument, and exits with status 0.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *nothing(void *argument) { return argument; }

static void *create(void *argument) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // So large that libc keeps few of them.
  pthread_attr_setstacksize(&attributes, 16 << 20);
  for (long left = (long)argument; left > 0;) {
    pthread_t thread;
    left -= pthread_create(&thread, &attributes, nothing, NULL) == 0;
  }
  return NULL;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    pthread_t creators[2];
    for (int c = 0; c < 2; c++) pthread_create(&creators[c], NULL, create, (void *)(atol(argv[i]) / 2));
    for (int c = 0; c < 2; c++) pthread_join(creators[c], NULL);
    long size, resident;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &size, &resident) != 2) return 1;
    fclose(file);
    printf("%ld\n", resident * sysconf(_SC_PAGESIZE) / 1024);
  }
  return 0;
}
