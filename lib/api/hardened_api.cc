// malloc and realloc of the hardened library (malloc_api.h).
//
// Always holds: as in malloc_api.h; and realloc always moves.
// Who may use it: through malloc_api.h. Not in the ordinary library.
#include <errno.h>
#include <string.h>

#include "api/malloc_api.h"

namespace poolalloc {

void* malloc_hardened(size_t size, Maker maker) {
  void* block = hardened_alloc(size, kBlockAlignment, maker);
  if (PA_UNLIKELY(block == nullptr)) errno = ENOMEM;
  return block;
}

void* realloc_hardened(void* p, size_t size) {
  size_t old_size;
  if (!hardened_find(p, Caller::realloc, &old_size)) {
    errno = EINVAL;
    return nullptr;
  }
  void* moved = size != 0 ? malloc_hardened(size, Maker::malloc) : nullptr;
  if (size != 0 && moved == nullptr) return nullptr;
  if (size != 0) memcpy(moved, p, old_size < size ? old_size : size);
  hardened_free(p, Caller::realloc, kUnsaid);
  return moved;
}

}  // namespace poolalloc
