/* A program linked statically with the library; it uses functions of the C library that allocate, and malloc's rarer ones,
 * which pull the C library's own malloc in when the static library does not define them.
 * Always: they work on one heap: a block is visible to mallinfo2 or counted nowhere, never negative. */
#include "check.h"
#include <sys/wait.h>

__attribute__((format(printf, 2, 3))) static int print(char **out, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int used = vasprintf(out, format, list);
  va_end(list);
  return used;
}

static void *body(void *unused) {
  exercise_heap();
  return unused;
}

int main(void) {
  char *text = NULL, *line = NULL;
  size_t room = 0;
  LAW(print(&text, "%s %d", "formatted", 42) == 12 && malloc_usable_size(text) >= 13, "vasprintf");
  free(text);
  FILE *file = fopen("/etc/passwd", "r");
  LAW(file && getline(&line, &room, file) > 0 && malloc_usable_size(line) >= room, "getline");
  free(line);
  fclose(file);
  void *block = malloc(10 * MIB);
  LAW(block && mallinfo2().uordblks + mallinfo2().hblkhd >= 10 * MIB, "mallinfo2 counts %zu", mallinfo2().uordblks);
  fill_some(block, 10 * MIB, 1);
  free(block);
  malloc_trim(0);
  LAW(mallopt(M_MMAP_THRESHOLD, 128 * 1024) == 0 || 1, "mallopt");
  free(memalign(4096, 100));
  free(valloc(100));
  free(pvalloc(100));
  free(aligned_alloc(64, 128));
  pthread_t thread;
  start_thread(&thread, body, NULL);
  pthread_join(thread, NULL);
  pid_t child = fork();
  if (child == 0) {
    exercise_heap();
    _exit(0);
  }
  int status = -1;
  LAW(waitpid(child, &status, 0) == child && status == 0, "the child ended with %d", status);
  exercise_heap();
  return 0;
}
