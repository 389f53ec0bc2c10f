// glibc's questions to its allocator (glibc_api.h).
//
// Who may use it: through glibc_api.h.
#include "api/glibc_api.h"

#include <errno.h>
#include <limits.h>

#include "api/stats.h"
#include "chunk/accounts.h"
#include "heap/evict.h"

namespace poolalloc {

int api_malloc_trim(size_t) {
  uint64_t before = accounts.purged.load_relaxed();
  heap_trim_all();
  return accounts.purged.load_relaxed() != before ? 1 : 0;
}

int api_mallopt(int parameter, int) {
  switch (parameter) {
    case M_MXFAST:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
      return 1;
    default:
      return 0;
  }
}

struct mallinfo2 api_mallinfo2() {
  poolalloc_stats stats = stats_gather();
  struct mallinfo2 info {};
  info.arena = stats.reserved_bytes - stats.mapped_bytes;
  info.hblks = stats.mapped_blocks;
  info.hblkhd = stats.mapped_bytes;
  info.uordblks = stats.live_bytes - stats.mapped_bytes;
  info.fordblks = info.arena > info.uordblks ? info.arena - info.uordblks : 0;
  info.keepcost = stats.retained_bytes;
  return info;
}

struct mallinfo api_mallinfo() {
  struct mallinfo2 wide = api_mallinfo2();
  auto narrow = [](size_t value) { return value < INT_MAX ? int(value) : INT_MAX; };
  struct mallinfo info {};
  info.arena = narrow(wide.arena);
  info.hblks = narrow(wide.hblks);
  info.hblkhd = narrow(wide.hblkhd);
  info.uordblks = narrow(wide.uordblks);
  info.fordblks = narrow(wide.fordblks);
  info.keepcost = narrow(wide.keepcost);
  return info;
}

int api_malloc_info(int options, FILE* stream) {
  if (options != 0) return EINVAL;
  poolalloc_stats stats = stats_gather();
  fprintf(stream,
          "<malloc version=\"poolalloc-%s\">\n"
          "  <live blocks=\"%zu\" bytes=\"%zu\"/>\n"
          "  <free bytes=\"%zu\"/>\n"
          "  <retained bytes=\"%zu\"/>\n"
          "  <reserved bytes=\"%zu\"/>\n"
          "  <mapped blocks=\"%zu\" bytes=\"%zu\"/>\n"
          "  <purged bytes=\"%zu\" again=\"%zu\"/>\n"
          "  <budget bytes=\"%zu\"/>\n"
          "  <peak bytes=\"%zu\"/>\n"
          "  <threads now=\"%zu\" peak=\"%zu\"/>\n"
          "</malloc>\n",
          poolalloc_version(), stats.live_blocks, stats.live_bytes, stats.free_bytes, stats.retained_bytes,
          stats.reserved_bytes, stats.mapped_blocks, stats.mapped_bytes, stats.purged_bytes, stats.needed_again_bytes,
          stats.budget_bytes, stats.peak_bytes, stats.thread_count, stats.thread_peak);
  return 0;
}

void api_malloc_stats() { stats_print_summary(); }

}  // namespace poolalloc
