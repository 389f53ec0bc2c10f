/* A library whose constructor replaces the environment by a copy in pages of its own and removes those pages later.
 * Always: after env_page_removed() any look at the environment as it was at the start is a crash. */
#include "check.h"
#include <sys/mman.h>

extern char **environ;
static char *page;
enum { area_size = 1 << 16 };

__attribute__((constructor)) static void env_page_made(void) {
  free(malloc(100));
  page = mmap(NULL, area_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  LAW(page != MAP_FAILED, "mmap");
  char **vector = (char **)page;
  char *text = page + 4096;
  size_t count = 0;
  for (; environ && environ[count] && count < 400; count++) {
    size_t size = strlen(environ[count]) + 1;
    if (text + size > page + area_size) break;
    vector[count] = memcpy(text, environ[count], size);
    memset(environ[count], '#', size - 1);
    text += size;
  }
  vector[count] = NULL;
  environ = vector;
  clearenv();
  environ = vector;
}

void env_page_removed(void) {
  clearenv();
  munmap(page, area_size);
}
