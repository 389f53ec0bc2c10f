/* exec_bare <program> <null|empty|odd>: starts a program without arguments and with no environment, an empty one, or one
 * of strings that are no assignments. Always: it is replaced by that program, or says that exec failed. */
#include "check.h"

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  char *empty[] = {NULL};
  char *odd[] = {"", "=", "POOLALLOC_VERBOSE", "POOLALLOC_FOREIGN", "=POOLALLOC_FOREIGN=abort", "POOLALLOC_", "x", NULL};
  /* Null vectors are what is tested; the pointers pass through opaque because the declarations forbid them. */
  char **none = opaque(NULL);
  if (strcmp(argv[2], "null") == 0) execve(argv[1], none, none);
  if (strcmp(argv[2], "empty") == 0) execve(argv[1], none, empty);
  if (strcmp(argv[2], "odd") == 0) execve(argv[1], empty, odd);
  LAW(0, "execve: %s", strerror(errno));
}
