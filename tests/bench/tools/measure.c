/* Runs one program and writes its wall seconds, processor seconds, peak resident KiB and exit status
 * to a file: measure FILE LIBRARY PROGRAM [ARGUMENT...]; LIBRARY is preloaded unless it is empty.
 * A small program of its own, because a process starts with the peak of the one that made it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  double start = seconds();
  pid_t child = fork();
  if (child == 0) {
    if (*argv[2] != 0) setenv("LD_PRELOAD", argv[2], 1);
    execvp(argv[3], argv + 3);
    _exit(127);
  }
  int status = 0;
  struct rusage usage;
  if (child < 0 || wait4(child, &status, 0, &usage) < 0) return 1;
  double wall = seconds() - start;
  double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  FILE *out = fopen(argv[1], "w");
  if (out == NULL) return 1;
  fprintf(out, "%.6f %.6f %ld %d\n", wall, cpu, usage.ru_maxrss, status);
  return fclose(out);
}
