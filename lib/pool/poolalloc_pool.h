/* The pool of the public pool chain, as C and C++ callers see it. Included by <poolalloc.h>.
 *
 * Always holds, for every pool of a chain:
 *   p == NULL implies size == 0          (no buffer yet, or given back)
 *   0 <= size <= capacity                (bytes handed out; bytes in the buffer)
 *   next is the pool that was chained behind this one, or NULL
 * and for the first pool only:
 *   current is the pool being handed out from; NULL means the first one itself
 * Fields may be read; only the pool functions write them.
 */
#ifndef POOLALLOC_POOL_H
#define POOLALLOC_POOL_H

#include <stddef.h>

typedef struct Pool {
  void *p;              /* the buffer, at least max_align_t-aligned */
  size_t capacity;      /* bytes in the buffer */
  size_t size;          /* bytes handed out, from the front */
  struct Pool *next;    /* the next pool of the chain */
  struct Pool *current; /* first pool only: where the next block is tried */
} Pool;

#endif
