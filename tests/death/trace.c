/* trace DEPTH: misuses a pointer in `inner`, called by `middle`, DEPTH times `outer` and main.
 *
 * Always holds: prints each function's name and where it begins in the file.
 */
#include <stdio.h>
#include <stdlib.h>

#define APART __attribute__((noinline, noclone))

extern const char __ehdr_start[], _start[];
static char variable[64];
static volatile int steps;

static APART void inner(void* p) {
  free(p);
  steps++;
}

static APART void middle(void* p) {
  inner(p);
  steps++;
}

static APART void outer(void* p, int depth) {
  if (depth > 1) {
    outer(p, depth - 1);
  } else {
    middle(p);
  }
  steps++;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const char* const names[] = {"inner", "middle", "outer", "main", "_start"};
  const char* const starts[] = {(char*)inner, (char*)middle, (char*)outer, (char*)main, _start};
  for (int i = 0; i < 5; i++) printf("%s %#lx\n", names[i], (long)(starts[i] - __ehdr_start));
  fflush(stdout);
  outer(variable, atoi(argv[1]));
  return 0;
}
