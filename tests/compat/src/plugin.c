/* A library that returns memory, takes memory, and allocates for itself; loaded with RTLD_DEEPBIND, into another
 * namespace, or again and again. Always: blocks it keeps hold what it wrote. */
#include "check.h"

void *plugin_make(size_t size) {
  void *block = malloc(size);
  if (block) fill(block, size, 9);
  return block;
}

void plugin_end(void *block) { free(block); }

int plugin_works(void) {
  void *blocks[200];
  for (int i = 0; i < 200; i++) {
    blocks[i] = malloc((size_t)i * i * 5 + 1);
    if (!blocks[i]) return 0;
    fill(blocks[i], (size_t)i * i * 5 + 1, i);
  }
  for (int i = 0; i < 200; i++) {
    if (!filled(blocks[i], (size_t)i * i * 5 + 1, i)) return 0;
    free(blocks[i]);
  }
#ifndef OWN_ONLY
  /* The C library's strdup calls the malloc of the namespace, the free below is the plugin's own. */
  char *text = strdup("a string");
  int same = text && strcmp(text, "a string") == 0;
  free(text);
  if (!same) return 0;
#endif
  return 1;
}
