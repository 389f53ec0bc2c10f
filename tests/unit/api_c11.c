/* <poolalloc.h> in a C11 program: it compiles under -pedantic, and the short names do what it says.
 *
 * Always holds: exits 0, or says on stderr which line's law is violated and exits 1. With an argument it
 * only shows that it compiles and links.
 */
#include <errno.h>
#include <poolalloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LAW(condition)                                                   \
  do {                                                                   \
    if (!(condition)) {                                                  \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
      return 1;                                                          \
    }                                                                    \
  } while (0)

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) return 0;

  Pool pool = pool_init(2 * sizeof(int));
  int *a = pool_alloc(&pool, sizeof(int));
  int *b = pool_alloc(&pool, sizeof(int));
  LAW(a != NULL && b == a + 1 && pool.next == NULL);
  *a = 1;
  *b = 2;
  int *c = pool_alloc(&pool, sizeof(int));
  LAW(c != NULL && pool.next != NULL && *a == 1 && *b == 2);

  char *aligned = pool_alloc_aligned(&pool, 10, 256);
  LAW(aligned != NULL && (uintptr_t)aligned % 256 == 0);
  memset(aligned, 'x', 10);
  char *grown = pool_realloc(&pool, aligned, 10, 100000);
  LAW(grown != NULL && memcmp(grown, "xxxxxxxxxx", 10) == 0);

  errno = 0;
  LAW(pool_alloc_aligned(&pool, 10, 3) == NULL && errno == EINVAL);
  errno = 0;
  LAW(pool_alloc(&pool, SIZE_MAX) == NULL && errno == ENOMEM);

  pool_reset(&pool);
  LAW(pool.size == 0 && pool_alloc(&pool, sizeof(int)) == a);
  pool_free(&pool);
  LAW(pool.p == NULL && pool.next == NULL && pool_alloc(&pool, 1) != NULL);
  pool_free(&pool);

  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", POOLALLOC_VERSION_MAJOR, POOLALLOC_VERSION_MINOR,
           POOLALLOC_VERSION_PATCH);
  LAW(strcmp(version, poolalloc_version()) == 0);

  poolalloc_stats stats;
  memset(&stats, 0xff, sizeof stats);
  poolalloc_stats_get(&stats, offsetof(poolalloc_stats, free_bytes));
  LAW(stats.live_blocks < 1000000 && stats.free_bytes == SIZE_MAX);
  poolalloc_stats_get(&stats, sizeof stats);
  LAW(stats.thread_count == 1 && stats.foreign_frees == 0 && stats.reserved_bytes >= stats.live_bytes);
  return 0;
}
