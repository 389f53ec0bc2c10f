/* An auditing library (LD_AUDIT), loaded before everything else into a namespace of its own, which allocates in each callback.
 * Always: its blocks are intact when it looks again; it says on fd 3, if that is open, that it was really called. */
#include "check.h"
#include <link.h>

static void *kept[64];
static int used;

static void allocate(size_t size) {
  void *block = malloc(size);
  LAW(block, "malloc(%zu) failed in an auditing library", size);
  fill(block, size, (unsigned)size);
  if (used < 64) {
    kept[used++] = block;
    return;
  }
  LAW(filled(block, size, (unsigned)size), "an auditing library's block has changed");
  free(block);
}

unsigned la_version(unsigned version) {
  allocate(100);
  allocate(100000);
  if (write(3, "la_version ", 11) < 0) errno = 0;
  return version;
}

unsigned la_objopen(struct link_map *map, Lmid_t namespace_id, uintptr_t *cookie) {
  (void)map, (void)namespace_id, (void)cookie;
  allocate(3000);
  if (write(3, "la_objopen ", 11) < 0) errno = 0;
  return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

unsigned la_objclose(uintptr_t *cookie) {
  (void)cookie;
  allocate(20);
  return 0;
}

uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, unsigned *flags,
                       const char *name) {
  (void)index, (void)from, (void)to, (void)flags, (void)name;
  allocate(48);
  return symbol->st_value;
}
