// What poolalloc.h has beyond malloc's family, heaps and pools apart.
//
// Always holds: what poolalloc.h says.
// Who may use it: programs, through poolalloc.h.
#define POOLALLOC_NO_SHORT_NAMES
#include <errno.h>
#include <string.h>

#include "api/export.h"
#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "api/options.h"
#include "api/poolalloc.h"
#include "chunk/accounts.h"
#include "heap/program_heap.h"
#include "os/message.h"

using namespace poolalloc;

namespace {

// What the program gave poolalloc_on_message. Synchronization: as poolalloc.h says.
struct MessageHandler {
  void (*function)(const char* line, size_t length, void* context);
  void* context;
};
constinit MessageHandler message_handler{nullptr, nullptr};

void call_message_handler(const char* line, size_t length) {
  // What it keeps is not to go with a heap that a call of this thread is for.
  ProgramScope scope(nullptr);
  message_handler.function(line, length, message_handler.context);
}

}  // namespace

void* poolalloc::message_context() { return message_handler.context; }

POOLALLOC_EXPORT size_t poolalloc_good_size(size_t size) { return api_good_size(size); }

POOLALLOC_EXPORT void* poolalloc_expand(void* block, size_t size) { return api_expand(block, size) ? block : nullptr; }

POOLALLOC_EXPORT void* poolalloc_recalloc(void* block, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) {
    errno = ENOMEM;
    return nullptr;
  }
  if (block == nullptr) return api_calloc(1, total);
  const size_t before = api_usable_size(block);
  char* moved = static_cast<char*>(api_realloc(block, total));
  if (moved == nullptr) return nullptr;
  // All that the caller has not had before, also what a later call may give him.
  const size_t now = api_usable_size(moved), kept = before < total ? before : total;
  memset(moved + kept, 0, now - kept);
  return moved;
}

POOLALLOC_EXPORT void* poolalloc_aligned_realloc(void* block, size_t alignment, size_t size) {
  if (!is_power_of_two(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  if (block == nullptr) return api_memalign(alignment, size);
  if (size == 0) return api_realloc(block, 0);
  const size_t before = api_usable_size(block);
  // Not where most of it would be left over.
  bool may_stay = address_of(block) % alignment == 0 && size >= before / 2;
  if (may_stay && api_expand(block, size)) return block;
  return api_realloc_in(api_heap_of(block), alignment, block, size);
}

POOLALLOC_EXPORT size_t poolalloc_trim(void) {
  const uint64_t before = accounts.purged.load_relaxed();
  api_malloc_trim(0);
  return accounts.purged.load_relaxed() - before;
}

POOLALLOC_EXPORT int poolalloc_option_set(const char* name, const char* value) {
  static constexpr int kErrors[] = {0, ENOENT, EINVAL, EPERM};
  const int error = kErrors[unsigned(option_set(name, value))];
  if (error == 0) return 0;
  errno = error;
  return -1;
}

POOLALLOC_EXPORT int poolalloc_option_get(const char* name, char* value, size_t size) {
  const char* said = option_value(name);
  if (said == nullptr) {
    errno = ENOENT;
    return -1;
  }
  const size_t length = strlen(said);
  if (size != 0) {
    const size_t copied = length < size ? length : size - 1;
    memcpy(value, said, copied);
    value[copied] = 0;
  }
  return int(length);
}

POOLALLOC_EXPORT void poolalloc_on_message(void (*handler)(const char*, size_t, void*), void* context) {
  if (handler != nullptr) message_handler = {handler, context};
  // Release: the handler.
  message_sink.store_release(handler != nullptr ? call_message_handler : nullptr);
}

POOLALLOC_EXPORT void poolalloc_on_no_memory(int (*handler)(size_t, void*), void* context) {
  no_memory_handler.context.store_relaxed(context);
  // Release: the context.
  no_memory_handler.function.store_release(handler);
}
