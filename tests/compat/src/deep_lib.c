/* A library that allocates and frees: for loading with RTLD_DEEPBIND. */
#include <stdlib.h>

void release(void *block) { free(block); }
void *obtain(size_t size) { return malloc(size); }
void *grow(void *block, size_t size) { return realloc(block, size); }
