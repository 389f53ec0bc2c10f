// What libpoolalloc says of itself (library.h).
//
// Who may use it: through library.h.
#include "library.h"

#include <malloc.h>
#include <stdlib.h>

#include "own.h"

namespace {

constexpr size_t kTextMost = 4 * kMiB;
// Blocks that malloc has ready in each heap and size while there is a profile.
constexpr int64_t kReadyMost = 32;

struct Text {
  char* start;
  size_t length;
};
Text text;
// As they are without the program's blocks: of the process with its main thread alone, and what each further one adds.
Figures* outside;
Figures* each_thread;
Figures* seen;
bool are_known;
bool has_purge_thread;
// Not with POOLALLOC_GUARD: blocks that malloc has ready for samples count as live all the time, guarded ones do not.
bool is_comparable = false;

struct Setting {
  const char* name;
  char value[32];
};
// Those that the program changes.
Setting settings[] = {{"purge", ""}, {"purge_floor", ""}, {"purge_ceiling", ""}, {"foreign", ""}, {"limit", ""}};

void add_text(const char* part, size_t length, void*) {
  if (text.length + length >= kTextMost) fail("soak: the statistics are longer than %zu bytes", kTextMost);
  memcpy(text.start + text.length, part, length);
  text.length += length;
  text.start[text.length] = 0;
}

// Reads on in the text.
struct Reader {
  const char* at;

  void pass(const char* what) {
    at = strstr(at, what);
    if (at == nullptr) fail("soak: the statistics have no %s", what);
    at += strlen(what);
  }
  int64_t number(const char* key) {
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"%s\":", key);
    pass(pattern);
    return strtoll(at, nullptr, 10);
  }
};

void check_text() {
  int depth = 0;
  for (const char* c = text.start; *c != 0; c++) {
    depth += (*c == '{' || *c == '[') - (*c == '}' || *c == ']');
    if (depth < 0 || (depth == 0 && c[1] != '\n' && c[1] != 0)) break;
  }
  if (depth != 0 || text.length < 2 || text.start[0] != '{') fail("soak: the statistics are cut: %.80s", text.start);
}

int64_t outside_of(int64_t alone, int64_t each, unsigned threads) { return alone + each * int64_t(threads); }

// One figure of the library and of the program; how many of them differ.
unsigned differs(const char* when, const char* what, int64_t library, int64_t program, int64_t more_allowed) {
  if (library >= program && library <= program + more_allowed) return 0;
  say("soak: NOT EQUAL: %s: %s: the library says %lld, the account %lld, difference %lld", when, what,
      (long long)library, (long long)program, (long long)(library - program));
  return 1;
}

unsigned differs(const char* when, const char* what, const Tally& library, const Tally& program, int64_t more_blocks) {
  char name[64];
  snprintf(name, sizeof name, "%s, blocks", what);
  unsigned count = differs(when, name, library.blocks, program.blocks, more_blocks);
  snprintf(name, sizeof name, "%s, bytes", what);
  if (are_known) count += differs(when, name, library.bytes, program.bytes, more_blocks * int64_t(kCountedMost));
  return count;
}

// stats_get counts blocks under way as live.
unsigned structs_differ(const char* when, const Figures& json) {
  poolalloc_stats stats{};
  poolalloc_stats_get(&stats, sizeof stats);
  unsigned count = 0;
  count += differs(when, "poolalloc_stats.live_blocks and the JSON's", int64_t(stats.live_blocks),
                   json.all.blocks + json.under_way.blocks, 0);
  count += differs(when, "poolalloc_stats.live_bytes and the JSON's", int64_t(stats.live_bytes),
                   json.all.bytes + json.under_way.bytes, 0);
  count +=
      differs(when, "poolalloc_stats.mapped_blocks and the JSON's", int64_t(stats.mapped_blocks), json.large.blocks, 0);
  count +=
      differs(when, "poolalloc_stats.mapped_bytes and the JSON's", int64_t(stats.mapped_bytes), json.large.bytes, 0);
  return count + differs(when, "misuses", int64_t(stats.misuses + stats.foreign_frees), 0, 0);
}

unsigned classes_differ(const char* when, const Figures& library, const Account& program, unsigned threads,
                        int64_t more_allowed) {
  unsigned count = 0;
  for (size_t i = 0; i < kSizeCount; i++) {
    char name[64];
    snprintf(name, sizeof name, "blocks of %zu bytes", i * kSizeStep);
    count += differs(when, name, library.of[i], program.of[i] + outside_of(outside->of[i], each_thread->of[i], threads),
                     more_allowed);
  }
  return count;
}

}  // namespace

bool sizes_are_known() { return are_known; }

void library_start() {
  text.start = static_cast<char*>(own_take(kTextMost));
  outside = own_array<Figures>(1);
  each_thread = own_array<Figures>(1);
  seen = own_array<Figures>(1);
  void* p = malloc(17);
  are_known = malloc_usable_size(p) != 17;
  free(p);
  if (&poolalloc_option_get == nullptr) return;
  char value[32];
  is_comparable = poolalloc_option_get("guard", value, sizeof value) > 0 && strcmp(value, "0") == 0;
  has_purge_thread = poolalloc_option_get("purge_thread", value, sizeof value) > 0 && strcmp(value, "1") == 0;
  for (Setting& each : settings) poolalloc_option_get(each.name, each.value, sizeof each.value);
}

void figures_read(Figures* figures) {
  *figures = {};
  text.length = 0;
  poolalloc_stats_json(add_text, nullptr);
  check_text();
  Reader reader{text.start};
  reader.pass("\"blocks\":");
  figures->all.bytes = reader.number("live_bytes");
  figures->all.blocks = reader.number("live_blocks");
  figures->under_way.bytes = reader.number("under_way_bytes");
  figures->under_way.blocks = reader.number("under_way_blocks");
  figures->free = reader.number("free_bytes");
  reader.pass("\"large\":");
  figures->large.bytes = reader.number("live_bytes");
  figures->large.blocks = reader.number("live_blocks");
  figures->in_use = reader.number("in_use");
  figures->kept = reader.number("kept");
  figures->given_back = reader.number("given_back");
  reader.pass("\"threads\":");
  figures->threads = reader.number("now");
  figures->heaps = reader.number("heaps");
  reader.pass("\"classes\":");
  const char* end = strstr(reader.at, "\"heaps\":");
  if (end == nullptr) fail("soak: the statistics have no heaps");
  for (const char* next; (next = strstr(reader.at, "\"size\":")) != nullptr && next < end;) {
    const size_t size = size_t(reader.number("size"));
    if (size % kSizeStep != 0 || size > kCountedMost) fail("soak: the statistics have a size class of %zu bytes", size);
    figures->of[size / kSizeStep] = reader.number("live");
  }
}

namespace {

void* park(void* barrier) {
  pthread_barrier_wait(static_cast<pthread_barrier_t*>(barrier));
  pthread_barrier_wait(static_cast<pthread_barrier_t*>(barrier));
  return nullptr;
}

}  // namespace

void outside_measure() {
  if (!is_poolalloc()) return;
  figures_read(outside);
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 2);
  Thread thread;
  thread_start(&thread, park, &barrier);
  pthread_barrier_wait(&barrier);
  figures_read(each_thread);
  pthread_barrier_wait(&barrier);
  thread_join(thread);
  pthread_barrier_destroy(&barrier);
  each_thread->all.bytes -= outside->all.bytes;
  each_thread->all.blocks -= outside->all.blocks;
  each_thread->large.bytes -= outside->large.bytes;
  each_thread->large.blocks -= outside->large.blocks;
  for (size_t i = 0; i < kSizeCount; i++) each_thread->of[i] -= outside->of[i];
}

bool account_compare(const char* when, unsigned threads, Exact exact) {
  if (!is_comparable) return false;
  const Account* sum = accounts_sum();
  figures_read(seen);
  const Figures& apart = *outside;
  const Figures& each = *each_thread;
  // The library's own thread, which there is where it is wanted, and now and then, has a block of libc's, too.
  const int64_t blocks = sum->all.blocks + outside_of(apart.all.blocks, each.all.blocks, threads);
  if (has_purge_thread && seen->all.blocks > blocks) threads++;
  const int64_t ready = exact == Exact::sampled ? kReadyMost * seen->heaps : 0;
  Tally all{sum->all.bytes + outside_of(apart.all.bytes, each.all.bytes, threads),
            sum->all.blocks + outside_of(apart.all.blocks, each.all.blocks, threads)};
  Tally large{sum->large.bytes + outside_of(apart.large.bytes, each.large.bytes, threads),
              sum->large.blocks + outside_of(apart.large.blocks, each.large.blocks, threads)};
  unsigned count = differs(when, "all", seen->all, all, ready * int64_t(kSizeCount));
  if (are_known) {
    count += differs(when, "large", seen->large, large, 0);
    count += classes_differ(when, *seen, *sum, threads, ready);
  }
  count += structs_differ(when, *seen);
  if (count != 0) fail("soak: VIOLATED: the account and the library differ in %u figures (%s)", count, when);
  return true;
}

void option_set(const char* name, const char* value) {
  if (&poolalloc_option_set == nullptr) return;
  if (poolalloc_option_set(name, value) != 0) fail("soak: the option %s cannot be %s", name, value);
  char set[32];
  if (poolalloc_option_get(name, set, sizeof set) < 0 || strcmp(set, value) != 0)
    fail("soak: the option %s is %s, not %s", name, set, value);
}

void options_reset() {
  for (const Setting& each : settings) option_set(each.name, each.value);
}
