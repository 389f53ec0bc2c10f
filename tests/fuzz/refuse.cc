// Requests that cannot be met, and misuse that is noticed: what is documented comes back, and nothing else changes.
//
// Who may use it: the table of operations (interpreter.cc).
#include <new>

#include "world.h"

namespace fuzz {
namespace {

// A call that fails: NULL, with this errno; kErrno: errno stays.
template <typename Call>
void fails(const char* law, int error, Call call) {
  errno = kErrno;
  void* p = call();
  expect(p == nullptr, law, p);
  expect(errno == error, law);
}
template <typename Call>
void fails_with(const char* law, int result, int error, Call call) {
  errno = kErrno;
  expect(call() == result, law);
  expect(errno == error, law);
}

// Some block of the lane, with its bytes looked at afterwards; or none.
struct Witness {
  Block* block;
  ~Witness() {
    if (block == nullptr) return;
    block_check(*block, block->usable, "a request that cannot be met has changed the block");
    expect(entry::malloc_usable_size(block->p) == block->usable,
           "a request that cannot be met has changed the block's size");
  }
};

void fail_requests(const Step& step) {
  const size_t size = impossible_size(step.amount), alignment = alignment_of(step);
  fails("malloc of a size that cannot be", ENOMEM, [=] { return entry::malloc(size); });
  fails("malloc of a size that cannot be", ENOMEM, [=] { return entry::__libc_malloc(size); });
  fails("calloc of a size that cannot be", ENOMEM, [=] { return entry::calloc(1, size); });
  fails("calloc of a product that overflows", ENOMEM,
        [=] { return entry::calloc(size, 0x20000 + step.amount % 1000); });
  fails("calloc of a product that overflows", ENOMEM, [=] { return entry::__libc_calloc(SIZE_MAX / 2, 3); });
  fails("realloc to a size that cannot be", ENOMEM, [=] { return entry::realloc(nullptr, size); });
  fails("reallocarray to a product that overflows", ENOMEM,
        [=] { return entry::reallocarray(nullptr, size, 0x20000); });
  fails("memalign of a size that cannot be", ENOMEM, [=] { return entry::memalign(alignment, size); });
  fails("memalign of a size that cannot be", ENOMEM, [=] { return entry::__libc_memalign(alignment, size); });
  fails("aligned_alloc of a size that cannot be", ENOMEM, [=] { return entry::aligned_alloc(alignment, size); });
  fails("valloc of a size that cannot be", ENOMEM, [=] { return entry::valloc(size); });
  fails("pvalloc of a size that cannot be", ENOMEM, [=] { return entry::pvalloc(size); });
  fails("pvalloc of a size that cannot be", ENOMEM, [=] { return entry::__libc_pvalloc(size); });
  fails("recalloc of a product that overflows", ENOMEM, [=] { return api::recalloc(nullptr, size, 0x20000); });
  fails("aligned_realloc to a size that cannot be", ENOMEM,
        [=] { return api::aligned_realloc(nullptr, alignment, size); });
}

void fail_alignments(const Step& step) {
  const size_t size = plain_size(step.amount);
  const size_t wrong = size_t{3} << step.other % 20;
  fails("aligned_alloc with an alignment that is none", EINVAL, [=] { return entry::aligned_alloc(wrong, size); });
  fails("aligned_alloc with an alignment that is none", EINVAL, [=] { return entry::aligned_alloc(0, size); });
  fails("memalign with an alignment that cannot be", EINVAL,
        [=] { return entry::memalign((size_t{1} << 63) + wrong, size); });
  fails("aligned_realloc with an alignment that is none", EINVAL,
        [=] { return api::aligned_realloc(nullptr, wrong, size); });
  void* result = &result;
  for (size_t alignment : {size_t{0}, size_t{1}, size_t{4}, wrong}) {
    fails_with("posix_memalign with an alignment that is none", EINVAL, kErrno,
               [&] { return entry::posix_memalign(&result, alignment, size); });
  }
  errno = kErrno;
  expect(entry::__posix_memalign(&result, 64, impossible_size(step.amount)) == ENOMEM,
         "posix_memalign of a size that cannot be");
  expect(result == &result, "posix_memalign has failed and written its result");
}

void fail_block(const Block& block, const Step& step) {
  const size_t size = impossible_size(step.amount);
  char* p = block.p;
  fails("expand to a size that cannot be", kErrno, [=] { return api::expand(p, size); });
  if (settings.is_hardened && block.maker != Maker::malloc) return;
  fails("realloc to a size that cannot be", ENOMEM, [=] { return entry::realloc(p, size); });
  fails("realloc to a size that cannot be", ENOMEM, [=] { return entry::__libc_realloc(p, size); });
  fails("reallocarray to a product that overflows", ENOMEM, [=] { return entry::reallocarray(p, 0x20000, size); });
  if (block.is_cleared)
    fails("recalloc of a product that overflows", ENOMEM, [=] { return api::recalloc(p, SIZE_MAX / 2, 4); });
  fails("aligned_realloc to a size that cannot be", ENOMEM, [=] { return api::aligned_realloc(p, 64, size); });
  fails("aligned_realloc with an alignment that is none", EINVAL, [=] { return api::aligned_realloc(p, 48, 100); });
}

void fail_heap(ProgramHeapKnown& known, const Block* block, const Step& step) {
  const size_t size = impossible_size(step.amount);
  fails("heap_alloc of a size that cannot be", ENOMEM, [&] { return api::heap_alloc(known.heap, size); });
  fails("heap_calloc of a product that overflows", ENOMEM, [&] { return api::heap_calloc(known.heap, size, 0x20000); });
  fails("heap_aligned_alloc of a size that cannot be", ENOMEM,
        [&] { return api::heap_aligned_alloc(known.heap, 64, size); });
  fails("heap_aligned_alloc with an alignment that is none", EINVAL,
        [&] { return api::heap_aligned_alloc(known.heap, 12, 5); });
  if (block == nullptr || (settings.is_hardened && block->maker != Maker::malloc)) return;
  fails("heap_realloc to a size that cannot be", ENOMEM, [&] { return api::heap_realloc(known.heap, block->p, size); });
}

// Nothing to be done, and nothing is.
void do_nothing(const Step& step) {
  errno = kErrno;
  entry::free(nullptr);
  entry::cfree(nullptr);
  entry::free_sized(nullptr, step.amount);
  entry::free_aligned_sized(nullptr, 64, step.amount);
  entry::_ZdlPv(nullptr);
  entry::_ZdaPvm(nullptr, step.amount);
  entry::_ZdlPvSt11align_val_t(nullptr, 64);
  if (ProgramHeapKnown& known = world.heaps[step.other % kHeaps]; known.heap != nullptr)
    api::heap_free(known.heap, nullptr);
  api::heap_delete(nullptr);
  expect(entry::malloc_usable_size(nullptr) == 0, "NULL has a usable size");
  expect(errno == kErrno, "free(NULL) has changed errno");
}

// --- operator new -----------------------------------------------------------------------------------------------

std::atomic<unsigned> handler_calls;
unsigned handler_patience;
// Gives up after some calls, as the C++ standard wants it: by an exception, or by taking itself away.
void new_handler() {
  if (++handler_calls < handler_patience) return;
  if (handler_patience % 2 == 0) throw std::bad_alloc();
  std::set_new_handler(nullptr);
}

template <typename Call>
bool throws_bad_alloc(Call call) {
  try {
    call();
    return false;
  } catch (const std::bad_alloc&) {
    return true;
  }
}

void fail_new_once(const Step& step, unsigned form) {
  const size_t size = impossible_size(step.amount), alignment = alignment_of(step);
  const auto& nothrow = std::nothrow;
  switch (form % 8) {
    case 0:
      return expect(throws_bad_alloc([=] { entry::_Znwm(size); }), "new has not thrown");
    case 1:
      return expect(throws_bad_alloc([=] { entry::_Znam(size); }), "new[] has not thrown");
    case 2:
      return expect(throws_bad_alloc([=] { entry::_ZnwmSt11align_val_t(size, alignment); }),
                    "aligned new has not thrown");
    case 3:
      return expect(throws_bad_alloc([=] { entry::_ZnamSt11align_val_t(size, alignment); }),
                    "aligned new[] has not thrown");
    case 4:
      return expect(entry::_ZnwmRKSt9nothrow_t(size, &nothrow) == nullptr, "new(nothrow) has not failed");
    case 5:
      return expect(entry::_ZnamRKSt9nothrow_t(size, &nothrow) == nullptr, "new[](nothrow) has not failed");
    case 6:
      return expect(entry::_ZnwmSt11align_val_tRKSt9nothrow_t(size, alignment, &nothrow) == nullptr,
                    "aligned new(nothrow) has not failed");
    default:
      return expect(entry::_ZnamSt11align_val_tRKSt9nothrow_t(size, alignment, &nothrow) == nullptr,
                    "aligned new[](nothrow) has not failed");
  }
}

// --- Misuse -----------------------------------------------------------------------------------------------------

// A call that is misuse: it is counted, and does nothing.
template <typename Call>
void misused(const char* law, Call call) {
  uint64_t before, after, foreign_before, foreign_after;
  figures_misuses(&before, &foreign_before);
  errno = kErrno;
  call();
  figures_misuses(&after, &foreign_after);
  expect(after + foreign_after == before + foreign_before + 1, law);
  world.misuses += after - before;
  world.foreign += foreign_after - foreign_before;
}

size_t bytes_given_back() {
  poolalloc_stats stats{};
  api::stats_get(&stats, sizeof stats);
  return stats.purged_bytes;
}

void misuse_of(Lane& lane, const Step& step) {
  static char variable[64];
  Block* block = lane.slots[step.slot()];
  char on_stack[64];
  void* wrong[] = {variable + 16, on_stack + 16, reinterpret_cast<void*>(8),
                   block != nullptr ? block->p + 3 : variable + 16};
  void* p = wrong[step.other % 4];
  misused("free of what is no block is not noticed", [=] { entry::free(p); });
  misused("realloc of what is no block is not noticed",
          [=] { expect(entry::realloc(p, 100) == nullptr && errno == EINVAL, "realloc of what is no block"); });
  misused("usable size of what is no block is not noticed",
          [=] { expect(entry::malloc_usable_size(p) == 0, "what is no block has a usable size"); });
  if (block == nullptr || block->usable == 0) return;
  if (block->usable > 64) misused("free of the middle of a block is not noticed", [=] { entry::free(block->p + 32); });
  lane.slots[step.slot()] = nullptr;
  const Block gone = *block;
  const size_t given_back = bytes_given_back();
  block_free(block, step.variant());
  // What was in a page that the kernel has got back cannot be told from a block in use.
  if (bytes_given_back() != given_back || settings.has_purge_thread) return;
  misused("a second free is not noticed", [&] { entry::free(gone.p); });
  misused("realloc of a free block is not noticed",
          [&] { expect(entry::realloc(gone.p, 100) == nullptr && errno == EINVAL, "realloc of a free block"); });
}

}  // namespace

void do_fail(Lane& lane, const Step& step) {
  const Witness witness{lane.slots[step.slot()]};
  ProgramHeapKnown& known = world.heaps[step.other % kHeaps];
  switch (step.how % 5) {
    case 0:
      return fail_requests(step);
    case 1:
      return fail_alignments(step);
    case 2:
      if (witness.block != nullptr) fail_block(*witness.block, step);
      return;
    case 3:
      if (known.heap != nullptr) fail_heap(known, witness.block, step);
      return;
    default:
      return do_nothing(step);
  }
}

void do_fail_new(Lane& lane, const Step& step) {
  const Witness witness{lane.slots[step.slot()]};
  const bool has_handler = step.how % 2 == 0;
  handler_calls = 0;
  handler_patience = 1 + step.other % 5;
  if (has_handler) std::set_new_handler(new_handler);
  fail_new_once(step, step.how / 2);
  std::set_new_handler(nullptr);
  expect(handler_calls == (has_handler ? handler_patience : 0), "the new_handler was called a wrong number of times");
}

// For as long as it lives, misuse ends nothing.
class MisuseAllowed {
 public:
  explicit MisuseAllowed(const char* how) {
    for (unsigned i = 0; i < 2; i++) {
      expect(api::option_get(kNames[i], before_[i], sizeof before_[i]) > 0, "an option is gone");
      set(i, i == 0 ? how : "ignore");
    }
    messages_expect(true);
  }
  ~MisuseAllowed() {
    messages_expect(false);
    for (unsigned i = 0; i < 2; i++) set(i, before_[i]);
  }

 private:
  static constexpr const char* kNames[] = {"misuse", "foreign"};
  static void set(unsigned i, const char* value) {
    expect(api::option_set(kNames[i], value) == 0, "an option cannot be set");
  }
  char before_[2][16];
};

void do_misuse(Lane& lane, const Step& step) {
  const MisuseAllowed allowed(step.how % 2 == 0 ? "ignore" : "warn");
  misuse_of(lane, step);
}

}  // namespace fuzz
