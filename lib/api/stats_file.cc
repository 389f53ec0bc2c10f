// The figures of a process in a file (stats_file.h).
//
// Who may use it: through stats_file.h.
#include "api/stats_file.h"

#include <string.h>

#include "api/path.h"
#include "api/stats.h"
#include "base/bits.h"
#include "heap/usage.h"
#include "os/os.h"

namespace poolalloc {
namespace {

constexpr unsigned kProgramsMost = 1000;
constexpr size_t kPathMost = 256;

// What is mapped: the file's part, and where it is.
struct Mapped {
  StatsFile figures;
  char folder[kPathMost];
};
static_assert(sizeof(Mapped) <= kNewFileMost);
constinit Mapped* mapped = nullptr;

void* new_file(const char* folder) {
  for (unsigned n = 1; n <= kProgramsMost; n++) {
    Path path;
    path.put(folder);
    path.put("/");
    path.put(uint64_t(os_process_id()));
    path.put(".");
    path.put(uint64_t(n));
    if (void* made = os_map_new_file(path.text, sizeof(Mapped))) return made;
    if (!os_file_exists(path.text)) break;
  }
  return nullptr;
}

void write_sample() { stats_file_write(false); }

}  // namespace

void stats_file_start(const char* folder) {
  if (strlen(folder) >= kPathMost) return;
  mapped = static_cast<Mapped*>(new_file(folder));
  if (mapped == nullptr) return;
  // The environment, where the folder stands, is the program's.
  strcpy(mapped->folder, folder);
  StatsFile& file = mapped->figures;
  file.size = sizeof(StatsFile);
  file.process = uint64_t(os_process_id());
  file.parent = uint64_t(os_parent_id());
  file.started_ms = file.written_ms = os_clock_ms();
  strncpy(file.program, os_program_name(), sizeof file.program - 1);
  memcpy(file.magic, "poolalloc stats", sizeof file.magic);
  usage_tracked.store_relaxed(true);
  usage_on_sample.store_relaxed(write_sample);
}

void stats_file_renew() {
  Mapped* const parents = mapped;
  if (parents == nullptr) return;
  stats_file_start(parents->folder);
  os_unmap(parents, round_up(sizeof(Mapped), os_page_size()));
}

void stats_file_write(bool is_end) {
  if (mapped == nullptr || !stats_can_be_gathered()) return;
  StatsFile* const to = &mapped->figures;
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
