// reallocarray, which calls realloc by its public name (chained.h). Apart from the operators, which a C program has
// not.
//
// Who may use it: through chained.h.
#include <errno.h>
#include <stdlib.h>

#include "interpose/chained.h"

namespace poolalloc {

void* chained_reallocarray(void* p, size_t count, size_t size) {
  size_t total;
  if (!__builtin_mul_overflow(count, size, &total)) return ::realloc(p, total);
  errno = ENOMEM;
  return nullptr;
}

}  // namespace poolalloc
