/* closed_fds <file>: started with fds 0, 1 and 2 closed, so that its own file takes fd 2.
 * Always: the file holds only what this program wrote; a violated law is written there too, as stdout is closed. */
#include "check.h"

int main(int argc, char **argv) {
  int file = -1;
  for (int i = 0; argc == 2 && i < 3; i++) file = open(argv[1], O_RDWR | O_CREAT | O_APPEND, 0600);
  if (file != 2) return 3;
  exercise_heap();
  free(foreign_pointer());  /* invalid pointers, which the library would like to speak of */
  LAW(!realloc(foreign_pointer(), 10), "realloc of an invalid pointer");
  exercise_heap();
  LAW(write(2, "mine\n", 5) == 5, "write");
  return 0;
}
