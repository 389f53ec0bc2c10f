// Requests that cannot be met. Always: NULL and ENOMEM (posix_memalign: the error number, errno and *memptr as they were),
// nothing is lost by a failed realloc; the operators throw what the standard says, and call the new_handler until it gives up.
#include "check.h"
#include <initializer_list>
#include <new>
#include <sys/resource.h>

static const size_t half = (size_t)PTRDIFF_MAX + 1;
static const size_t impossible[] = {(size_t)PTRDIFF_MAX, half, half + 1, half + 4096, SIZE_MAX / 4 * 3, SIZE_MAX - 65536,
                                    SIZE_MAX - 4096, SIZE_MAX - 4095, SIZE_MAX - 4094, SIZE_MAX - 64, SIZE_MAX - 16,
                                    SIZE_MAX - 15, SIZE_MAX - 8, SIZE_MAX - 7, SIZE_MAX - 1, SIZE_MAX};

#define REFUSED(call) \
  do { \
    errno = 0; \
    void *block_ = opaque(call); \
    LAW(!block_, #call " gave %p for %zu", block_, size); \
    LAW(errno == ENOMEM, #call ": errno %d for %zu", errno, size); \
  } while (0)

static void refused(size_t size) {
  REFUSED(malloc(opaque_n(size)));
  REFUSED(calloc(1, opaque_n(size)));
  REFUSED(calloc(opaque_n(size), 1));
  REFUSED(calloc(opaque_n(size), 3));
  REFUSED(realloc(nullptr, opaque_n(size)));
  REFUSED(valloc(opaque_n(size)));
  REFUSED(pvalloc(opaque_n(size)));
  for (size_t alignment = 8; alignment <= 1 << 30; alignment *= 8) {
    REFUSED(memalign(alignment, opaque_n(size)));
    REFUSED(aligned_alloc(alignment, opaque_n(size)));
    void *out = &out;
    errno = 12345;
    LAW(posix_memalign(&out, alignment, opaque_n(size)) == ENOMEM, "posix_memalign(%zu, %zu)", alignment, size);
    LAW(out == &out && errno == ENOMEM, "posix_memalign changed *memptr, or errno is %d", errno);
  }
  for (size_t old : std::initializer_list<size_t>{1, 100, 1000, 30000, 200000, 6000000}) {
    void *block = malloc(old);
    fill_some(block, old, 5);
    REFUSED(realloc(opaque(block), opaque_n(size)));
    REFUSED(reallocarray(opaque(block), opaque_n(size), 1));
    REFUSED(reallocarray(opaque(block), opaque_n(size), 7));
    LAW(filled_some(block, old, 5) && malloc_usable_size(block) >= old, "a failed realloc changed %zu bytes", old);
    free(block);
  }
}

static void products() {
  size_t size = 0;
  REFUSED(calloc(SIZE_MAX / 2, opaque_n(3)));
  REFUSED(calloc(opaque_n(3), SIZE_MAX / 2));
  REFUSED(calloc(SIZE_MAX, opaque_n(SIZE_MAX)));
  REFUSED(calloc((size_t)1 << 32, opaque_n((size_t)1 << 32)));
  REFUSED(calloc(((size_t)1 << 32) + 1, opaque_n((size_t)1 << 32)));  // 2^64 + 2^32: small if it wraps
  REFUSED(calloc(SIZE_MAX / 16 + 1, opaque_n(16)));
  REFUSED(reallocarray(nullptr, SIZE_MAX / 2, opaque_n(3)));
  REFUSED(reallocarray(nullptr, (size_t)1 << 32, opaque_n((size_t)1 << 32)));
  REFUSED(memalign(opaque_n(SIZE_MAX / 2 + 1), 0x7fffffffffffffff));
  for (size_t alignment : {SIZE_MAX / 2 + 1, (size_t)1 << 62, (size_t)1 << 60, (size_t)1 << 50}) {
    REFUSED(memalign(opaque_n(alignment), 1));
    REFUSED(aligned_alloc(opaque_n(alignment), 1));
    void *out = &out;
    LAW(posix_memalign(&out, opaque_n(alignment), 1) == ENOMEM && out == &out, "posix_memalign(%zu, 1)", alignment);
  }
  errno = 0;  // above 2^63 no power of two is left: EINVAL in glibc, ENOMEM would be right too
  LAW(!memalign(opaque_n(SIZE_MAX / 2 + 2), 1) && (errno == EINVAL || errno == ENOMEM), "memalign above 2^63");
}

static int handler_calls;
static void *reserve;

template <class Call> static bool throws_bad_alloc(Call call) {
  try {
    opaque(call());
  } catch (const std::bad_alloc &) {
    return true;
  }
  return false;
}

static void operators() {
  const size_t much = half - 1000;
  const std::align_val_t alignment{64};
  LAW(throws_bad_alloc([&] { return operator new(opaque_n(much)); }), "operator new");
  LAW(throws_bad_alloc([&] { return operator new[](opaque_n(much)); }), "operator new[]");
  LAW(throws_bad_alloc([&] { return operator new(opaque_n(much), alignment); }), "aligned operator new");
  LAW(throws_bad_alloc([&] { return operator new[](opaque_n(much), alignment); }), "aligned operator new[]");
  LAW(throws_bad_alloc([&] { return operator new(opaque_n(SIZE_MAX)); }), "operator new(SIZE_MAX)");
  LAW(throws_bad_alloc([&] { return operator new(opaque_n(SIZE_MAX), alignment); }), "aligned operator new(SIZE_MAX)");
  LAW(!operator new(opaque_n(much), std::nothrow), "nothrow operator new");
  LAW(!operator new[](opaque_n(much), std::nothrow), "nothrow operator new[]");
  LAW(!operator new(opaque_n(much), alignment, std::nothrow), "nothrow aligned operator new");
  LAW(!operator new[](opaque_n(much), alignment, std::nothrow), "nothrow aligned operator new[]");
  bool length = false;
  try {
    opaque(new long[opaque_n(SIZE_MAX / 4)]);
  } catch (const std::bad_array_new_length &) {
    length = true;
  }
  LAW(length, "new long[SIZE_MAX / 4] does not throw bad_array_new_length");
}

static void give_up() {
  handler_calls++;
  std::set_new_handler(nullptr);
}

static void second() {
  handler_calls++;
  std::set_new_handler(give_up);
}

static void count_three() {
  if (++handler_calls == 3) std::set_new_handler(second);
}

static void free_reserve() {
  handler_calls++;
  LAW(reserve, "the handler is called again although memory was freed");
  free(reserve);
  malloc_trim(0);
  reserve = nullptr;
}

static void throw_own() { throw 42; }

static void throw_bad_alloc() { throw std::bad_alloc(); }

static void handlers() {
  const size_t much = half - 1000;
  for (int nothrow = 0; nothrow < 4; nothrow++) {
    handler_calls = 0;
    std::set_new_handler(count_three);
    switch (nothrow) {
      case 0: LAW(throws_bad_alloc([&] { return operator new(opaque_n(much)); }), "new with handlers"); break;
      case 1: LAW(!operator new(opaque_n(much), std::nothrow), "nothrow new with handlers"); break;
      case 2: LAW(throws_bad_alloc([&] { return new char[opaque_n(much)]; }), "new[] with handlers"); break;
      default: LAW(!operator new(opaque_n(much), std::align_val_t{4096}, std::nothrow), "aligned new with handlers");
    }
    LAW(handler_calls == 5, "the handlers were called %d times, not 3 + 1 + 1", handler_calls);
    LAW(!std::get_new_handler(), "the handler was not replaced");
  }

  std::set_new_handler(throw_own);
  int caught = 0;
  try {
    opaque(operator new(opaque_n(much)));
  } catch (int number) {
    caught = number;
  }
  LAW(caught == 42, "a handler's own exception does not pass through operator new");
  std::set_new_handler(throw_bad_alloc);
  LAW(!operator new(opaque_n(much), std::nothrow), "nothrow new when the handler throws");
  std::set_new_handler(nullptr);

  // A handler that frees memory: under a limit of address space, one request fails and the next succeeds.
  struct rlimit old, tight;
  getrlimit(RLIMIT_AS, &old);
  reserve = malloc(512 * MIB);
  LAW(reserve, "a reserve of 512 MiB");
  tight = old;
  tight.rlim_cur = (size_t)status_field("VmSize:") * 1024 + 128 * MIB;
  LAW(setrlimit(RLIMIT_AS, &tight) == 0, "setrlimit");
  handler_calls = 0;
  std::set_new_handler(free_reserve);
  void *block = operator new(opaque_n(400 * MIB));
  LAW(block && handler_calls == 1, "the handler freed memory, and was called %d times", handler_calls);
  std::set_new_handler(nullptr);
  operator delete(block);
  setrlimit(RLIMIT_AS, &old);
}

int main() {
  for (size_t size : impossible) refused(size);
  products();
  operators();
  handlers();
  exercise_heap();
  return 0;
}
