/* Runs one program and writes what it used to a file: measure FIGURES LIBRARY OUTPUT ERRORS PROGRAM [ARGUMENT...]
 *
 * LIBRARY is preloaded unless it is empty; standard output and error go to the files OUTPUT and ERRORS. FIGURES
 * gets one line: wall, user and system seconds, peak resident KiB of the largest process, minor and major
 * page faults, and wait's status. The processor's time and the faults are those of the program and all
 * descendants that were waited for.
 *
 * Always holds: it is a small program of its own, because a process starts with the peak of the one that
 * made it; the library is loaded into the program, not into this.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double timeval_seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static void redirect(int descriptor, const char* path) {
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || dup2(file, descriptor) < 0) _exit(127);
  close(file);
}

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  double start = seconds();
  pid_t child = fork();
  if (child == 0) {
    redirect(1, argv[3]);
    redirect(2, argv[4]);
    if (*argv[2] != 0) setenv("LD_PRELOAD", argv[2], 1);
    execvp(argv[5], argv + 5);
    _exit(127);
  }
  int status = 0;
  struct rusage usage;
  if (child < 0 || wait4(child, &status, 0, &usage) < 0) return 1;
  double wall = seconds() - start;
  FILE* figures = fopen(argv[1], "w");
  if (figures == NULL) return 1;
  fprintf(figures, "%.6f %.6f %.6f %ld %ld %ld %d\n", wall, timeval_seconds(usage.ru_utime),
          timeval_seconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt, usage.ru_majflt, status);
  return fclose(figures);
}
