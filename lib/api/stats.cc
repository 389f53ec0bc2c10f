// Figures of the whole process (stats.h).
//
// Always holds: gathering stops nobody (heap/usage.h walks; the rest are counters).
// Who may use it: through stats.h and poolalloc.h.
#include "api/stats.h"

#include <string.h>

#include "api/export.h"
#include "api/path.h"
#include "base/chaos.h"
#include "chunk/accounts.h"
#include "chunk/extent.h"
#include "chunk/region.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "heap/program_heap.h"
#include "heap/usage.h"
#include "inspect/growing.h"
#include "inspect/statistics.h"
#include "inspect/visit.h"
#include "os/mapped.h"
#include "os/message.h"

namespace poolalloc {
namespace {

using Summary = LinesOf<2048>;

PA_COLD void add_bytes(Summary& summary, const char* what, uint64_t bytes, const char* explained) {
  summary.next().text(what).bytes(bytes).text(explained);
}

PA_COLD void add_amount(Summary& summary, const char* what, uint64_t bytes, uint64_t blocks) {
  summary.next().text(what).bytes(bytes).text(" in ").number(blocks).text(" blocks");
}

}  // namespace

poolalloc_stats stats_gather() {
  Usage usage = usage_gather();
  int64_t retained = accounts.dirty_free.load_relaxed();
  poolalloc_stats stats{};
  stats.mapped_bytes = usage.large_bytes;
  stats.mapped_blocks = usage.large_blocks;
  stats.live_bytes = usage.live_bytes;
  stats.live_blocks = usage.live_blocks;
  stats.free_bytes = usage.free_bytes;
  stats.retained_bytes = retained > 0 ? size_t(retained) : 0;
  stats.reserved_bytes = size_t(accounts.mapped.load_relaxed());
  stats.purged_bytes = accounts.purged.load_relaxed();
  stats.peak_bytes = size_t(accounts.peak.load_relaxed());
  stats.thread_count = heap_thread_count();
  stats.thread_peak = heap_thread_peak();
  stats.foreign_frees = foreign_count();
  stats.misuses = misuse_count();
  int64_t budget = budget_now(accounts.retention);
  stats.budget_bytes = budget < kUnlimited ? size_t(budget) : SIZE_MAX;
  stats.needed_again_bytes = accounts.retention.needed_again.load_relaxed();
  return stats;
}

bool stats_can_be_gathered() { return !lock_is_mine(extents_lock) && !lock_is_mine(regions_lock); }

PA_COLD void stats_print_summary() {
  const poolalloc_stats stats = stats_gather();
  Summary summary;
  summary.text("summary of process ").number(uint64_t(os_process_id())).text(" (").text(os_program_name()).text(")");
  if (usage_tracked.load_relaxed()) {
    Usage peak = usage_peak();
    add_amount(summary, "  peak live       ", peak.live_bytes, peak.live_blocks);
  }
  add_amount(summary, "  live now        ", stats.live_bytes, stats.live_blocks);
  add_bytes(summary, "  peak resident   ", os_peak_resident(), " (the whole process)");
  add_bytes(summary, "  peak for blocks ", stats.peak_bytes, " (pools and large blocks, touched or not)");
  add_bytes(summary, "  kept for reuse  ", stats.retained_bytes, "");
  if (stats.budget_bytes == SIZE_MAX) {
    summary.next().text("  of at most      unlimited");
  } else {
    add_bytes(summary, "  of at most      ", stats.budget_bytes, " (at this moment)");
  }
  add_bytes(summary, "  given back      ", stats.purged_bytes, " (to the kernel, in all)");
  add_bytes(summary, "  needed again    ", stats.needed_again_bytes, " of that");
  summary.next().text("  threads         ").number(stats.thread_peak).text(" at most at one time");
  if (stats.foreign_frees + stats.misuses != 0)
    summary.next().text("  invalid frees   ").number(stats.foreign_frees + stats.misuses);
  summary.send();
  chaos_report();
}

// Puts what `make` writes together, and then in a file.
template <typename Make>
static void write_file(const char* what, const char* file, Make make) {
  Growing<char> text;
  Mapped<Path> path, part;
  make([](const char* more, size_t length, void* to) { static_cast<Growing<char>*>(to)->add(more, length); }, &text);
  Message message;
  message.text(what).text(" cannot be written");
  if (!text.is_whole || !path || !part) return message.text(": no memory").send();
  if (*file == 0) return os_write(text.items, text.count);
  path->put_pattern(file);
  part->put_part(path->text);
  if (!path->is_whole || !part->is_whole || !os_file_replace(path->text, part->text, text.items, text.count))
    message.text(" to ").text(path->text).send();
}

PA_COLD void stats_write_json(const char* file) {
  write_file("the figures", file,
             [](StatisticsWrite write, void* to) { statistics_write(poolalloc_version(), write, to); });
}

PA_COLD void stats_write_map(const char* file) { write_file("the map", file, map_write); }

}  // namespace poolalloc

POOLALLOC_EXPORT void poolalloc_stats_json(void (*write)(const char* text, size_t length, void* context),
                                           void* context) {
  poolalloc::statistics_write(poolalloc_version(), write, context);
}

POOLALLOC_EXPORT int poolalloc_visit(int (*visit)(const poolalloc_area*, void*, int, void*), void* context) {
  struct Visitor {
    int (*visit)(const poolalloc_area*, void*, int, void*);
    void* context;
  } visitor{visit, context};
  const bool is_ended = poolalloc::areas_visit(
      [](const poolalloc::Area& area, void* block, bool is_live, void* each) {
        const auto& to = *static_cast<Visitor*>(each);
        const poolalloc_area shown{area.start, area.size, area.block_size, area.block_count,
                                   reinterpret_cast<poolalloc_heap*>(poolalloc::program_shown(area.heap))};
        return to.visit(&shown, block, is_live, to.context) == 0;
      },
      &visitor);
  return is_ended ? 0 : 1;
}

POOLALLOC_EXPORT void poolalloc_stats_get(poolalloc_stats* stats, size_t size) {
  poolalloc_stats gathered = poolalloc::stats_gather();
  memcpy(stats, &gathered, size < sizeof gathered ? size : sizeof gathered);
}
