// glibc's questions to its allocator (glibc_api.h).
//
// Who may use it: through glibc_api.h.
#include "api/glibc_api.h"

#include <errno.h>
#include <limits.h>

#include "api/stats.h"
#include "chunk/accounts.h"
#include "heap/evict.h"
#include "heap/next_allocator.h"
#include "inspect/census.h"

namespace poolalloc {

int api_malloc_trim(size_t pad) {
  if (auto passed = next_function(&NextAllocator::malloc_trim)) return passed(pad);
  uint64_t before = accounts.purged.load_relaxed();
  heap_trim_all();
  return accounts.purged.load_relaxed() != before ? 1 : 0;
}

int api_mallopt(int parameter, int value) {
  if (auto passed = next_function(&NextAllocator::mallopt)) return passed(parameter, value);
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
  if (auto passed = next_function(&NextAllocator::mallinfo2)) return passed();
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

// In the shape that glibc gives it: one arena that stands for all heaps, and the sums. What glibc has in fast bins
// there is nothing of here; `rest` is free blocks of pools.
int api_malloc_info(int options, FILE* stream) {
  if (auto passed = next_function(&NextAllocator::malloc_info)) return passed(options, stream);
  if (options != 0) return EINVAL;
  Census census;
  census_take(census);
  const long long mapped = accounts.mapped.load_relaxed(), peak = accounts.peak.load_relaxed();
  const unsigned long long pools = (unsigned long long)(slices_size());
  fputs("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n", stream);
  size_t from = 1;
  unsigned long long free_blocks = 0;
  for (unsigned c = 0; c < kClassCount; from = class_size(c++) + 1) {
    const unsigned long long count = census.classes[c].free;
    free_blocks += count;
    if (count != 0)
      fprintf(stream, "  <size from=\"%zu\" to=\"%zu\" total=\"%llu\" count=\"%llu\"/>\n", from, class_size(c),
              count * class_size(c), count);
  }
  fputs("</sizes>\n", stream);
  auto write_sums = [&](unsigned long long space, bool with_large) {
    fprintf(stream,
            "<total type=\"fast\" count=\"0\" size=\"0\"/>\n<total type=\"rest\" count=\"%llu\" size=\"%llu\"/>\n",
            free_blocks, (unsigned long long)(census.free_bytes));
    if (with_large)
      fprintf(stream, "<total type=\"mmap\" count=\"%llu\" size=\"%llu\"/>\n",
              (unsigned long long)(census.large_blocks), (unsigned long long)(census.large_bytes));
    fprintf(stream,
            "<system type=\"current\" size=\"%llu\"/>\n<system type=\"max\" size=\"%lld\"/>\n"
            "<aspace type=\"total\" size=\"%llu\"/>\n<aspace type=\"mprotect\" size=\"%llu\"/>\n",
            space, peak, space, space);
  };
  write_sums(pools, false);
  fputs("</heap>\n", stream);
  write_sums((unsigned long long)(mapped), true);
  fputs("</malloc>\n", stream);
  return 0;
}

void api_malloc_stats() {
  if (auto passed = next_function(&NextAllocator::malloc_stats)) return passed();
  stats_print_summary();
}

}  // namespace poolalloc
