/* Alignments that are wrong or unusual. Always: posix_memalign says EINVAL and changes neither *memptr nor errno;
 * aligned_alloc refuses with EINVAL; memalign, as glibc's, rounds up or refuses, and never gives a block of less alignment. */
#include "check.h"

int main(void) {
  static const size_t wrong[] = {0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 15, 17, 24, 48, 63, 65, 100, 4095, 4097, 12288, SIZE_MAX,
                                 SIZE_MAX - 7, SIZE_MAX / 2, SIZE_MAX / 2 + 2};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    size_t alignment = wrong[i];
    for (size_t size = 0; size < 10 * MIB; size = size * 9 + 1) {
      void *out = &out;
      errno = 12345;
      LAW(posix_memalign(&out, opaque_n(alignment), size) == EINVAL, "posix_memalign(%zu, %zu)", alignment, size);
      LAW(out == &out, "a refused posix_memalign changed *memptr");
      LAW(errno == 12345, "a refused posix_memalign changed errno to %d", errno);

      size_t power = 1;
      while (power < alignment && power <= SIZE_MAX / 2) power *= 2;
      if (power != alignment) {
        errno = 0;
        LAW(!aligned_alloc(opaque_n(alignment), size) && errno == EINVAL, "aligned_alloc(%zu, %zu): errno %d", alignment,
            size, errno);
      }
      errno = 0;
      char *block = memalign(opaque_n(alignment), size);
      if (!block) {
        LAW(errno == EINVAL || errno == ENOMEM, "errno %d for alignment %zu", errno, alignment);
      } else {
        LAW((uintptr_t)block % power == 0, "alignment %zu gave %p", alignment, (void *)block);
        LAW(malloc_usable_size(block) >= size, "alignment %zu size %zu", alignment, size);
        fill_some(block, size, 1);
      }
      free(block);
    }
  }
  void *none = &none;
  errno = 0;
  LAW(posix_memalign(&none, 64, opaque_n(SIZE_MAX / 2)) == ENOMEM && errno == ENOMEM, "as glibc, errno %d", errno);

  for (size_t alignment = 8; alignment <= 65536; alignment *= 2) {
    void *out = NULL;
    errno = 12345;
    LAW(posix_memalign(&out, alignment, 100) == 0 && out && (uintptr_t)out % alignment == 0, "posix_memalign(%zu)", alignment);
    LAW(errno == 12345, "posix_memalign changed errno");
    free(out);
    out = aligned_alloc(alignment, 100);  /* the size is no multiple: allowed since C17 */
    LAW(out && (uintptr_t)out % alignment == 0, "aligned_alloc(%zu, 100)", alignment);
    free(out);
  }
  exercise_heap();
  return 0;
}
