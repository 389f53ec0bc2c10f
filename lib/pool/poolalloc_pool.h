/* The pool of the public pool chain, as C and C++ callers see it. Included by <poolalloc.h>.
 *
 * Always holds, for every pool of a chain:
 *   p == NULL implies size == 0          (no buffer yet, or given back)
 *   0 <= size <= capacity                (bytes handed out; bytes in the buffer)
 *   next is the pool that was chained behind this one, or NULL
 * and for the first pool only:
 *   current is the pool being handed out from; NULL means the first one itself
 *   before is the sum of the sizes of all but the current pool, taken that of all buffers, with the
 *   headers of chained pools; filled is how many chained pools have handed out something
 * Fields may be read; only the pool functions write them.
 */
#ifndef POOLALLOC_POOL_H
#define POOLALLOC_POOL_H

#include <stddef.h>

typedef struct poolalloc_pool {
  void *p;                        /* the buffer, at least max_align_t-aligned */
  size_t capacity;                /* bytes in the buffer */
  size_t size;                    /* bytes handed out, from the front */
  struct poolalloc_pool *next;    /* the next pool of the chain */
  struct poolalloc_pool *current; /* first pool only: where the next block is tried */
  size_t serial;                  /* when the pool last handed out its first block: the last number given; first pool:
                                     the last one that was given */
  struct poolalloc_pool *behind;  /* first pool only: from the current pool to this one all are in use; NULL: not known */
  size_t before;                  /* first pool only: bytes handed out by all but the current pool */
  size_t filled;                  /* first pool only */
  size_t taken;                   /* first pool only: bytes that buffers have taken */
  size_t limit;                   /* first pool only: what they may take; 0: no limit */
} poolalloc_pool;

/* How far a chain was used at one moment. */
typedef struct poolalloc_pool_mark {
  poolalloc_pool *current;
  size_t size;
  poolalloc_pool *behind;
  size_t serial;
  size_t before;
  size_t filled;
} poolalloc_pool_mark;

#endif
