// The figures of a process in a file (stats_file.h).
//
// Who may use it: through stats_file.h.
#include "api/stats_file.h"

#include <string.h>

#include "api/stats.h"
#include "heap/usage.h"
#include "os/os.h"

namespace poolalloc {
namespace {

constexpr size_t kPathMost = 300;
constexpr unsigned kProgramsMost = 1000;

constinit StatsFile* file = nullptr;

// The path with numbers at its end.
struct Path {
  char text[kPathMost];
  size_t length = 0;

  void put(const char* s) {
    for (; *s != 0 && length + 1 < kPathMost; s++) text[length++] = *s;
    text[length] = 0;
  }
  void put(uint64_t number) {
    char digits[21];
    char* at = digits + sizeof digits;
    *--at = 0;
    do {
      *--at = char('0' + number % 10);
      number /= 10;
    } while (number != 0);
    put(at);
  }
};

void* new_file(const char* folder) {
  for (unsigned n = 1; n <= kProgramsMost; n++) {
    Path path;
    path.put(folder);
    path.put("/");
    path.put(uint64_t(os_process_id()));
    path.put(".");
    path.put(n);
    if (void* made = os_map_new_file(path.text, sizeof(StatsFile))) return made;
    if (!os_file_exists(path.text)) break;
  }
  return nullptr;
}

void write_sample() { stats_file_write(false); }

}  // namespace

void stats_file_start(const char* folder) {
  if (file != nullptr) os_unmap(file, os_page_size());
  file = static_cast<StatsFile*>(new_file(folder));
  if (file == nullptr) return;
  file->size = sizeof(StatsFile);
  file->process = uint64_t(os_process_id());
  file->parent = uint64_t(os_parent_id());
  file->started_ms = file->written_ms = os_clock_ms();
  strncpy(file->program, os_program_name(), sizeof file->program - 1);
  memcpy(file->magic, "poolalloc stats", sizeof file->magic);
  usage_tracked.store_relaxed(true);
  usage_on_sample.store_relaxed(write_sample);
}

void stats_file_write(bool is_end) {
  StatsFile* to = file;
  if (to == nullptr || !stats_can_be_gathered()) return;
  to->written_ms = os_clock_ms();
  to->peak_resident = os_peak_resident();
  const poolalloc_stats stats = stats_gather();
  const Usage peak = usage_peak_known();
  to->peak_live_bytes = peak.live_bytes > stats.live_bytes ? peak.live_bytes : stats.live_bytes;
  to->peak_live_blocks = peak.live_bytes > stats.live_bytes ? peak.live_blocks : stats.live_blocks;
  to->live_bytes = stats.live_bytes;
  to->live_blocks = stats.live_blocks;
  to->peak_for_blocks = stats.peak_bytes;
  to->kept = stats.retained_bytes;
  to->budget = stats.budget_bytes;
  to->purged = stats.purged_bytes;
  to->needed_again = stats.needed_again_bytes;
  to->threads = stats.thread_peak;
  to->invalid_frees = stats.foreign_frees + stats.misuses;
  to->ended = is_end;
}

}  // namespace poolalloc
