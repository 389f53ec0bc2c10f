/* A process that does nothing. Prints, in KiB: resident memory that is in no file, and what is resident of the library's
 * file. Always: it calls nothing that allocates. */
#include "check.h"

int main(void) {
  static char text[1 << 17];
  int file = open("/proc/self/smaps", O_RDONLY);
  LAW(file >= 0, "no smaps");
  size_t length = 0;
  for (ssize_t got; (got = read(file, text + length, sizeof text - 1 - length)) > 0;) length += (size_t)got;
  LAW(length < sizeof text - 1, "too many mappings");
  long anonymous = 0, library = 0;
  int is_library = 0;
  for (char *line = text; line != NULL && *line != 0; line = strchr(line, '\n'), line += line != NULL) {
    char *end = strchr(line, '\n');
    if (end == NULL) break;
    *end = 0;
    if (strchr("0123456789abcdef", *line) != NULL && strchr(line, '-') != NULL) is_library = strstr(line, "libpoolalloc") != NULL;
    if (is_library && strncmp(line, "Rss:", 4) == 0) library += strtol(line + 4, NULL, 10);
    if (strncmp(line, "Anonymous:", 10) == 0) {
      long size = strtol(line + 10, NULL, 10);
      anonymous += size;
      if (is_library) library -= size;
    }
    *end = '\n';
  }
  int printed = snprintf(text, sizeof text, "%ld %ld\n", anonymous, library);
  return write(STDOUT_FILENO, text, (size_t)printed) == printed ? 0 : 1;
}
