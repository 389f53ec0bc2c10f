// A service that runs for long: days that are all the same, of sessions, caches, requests and bursts, in which threads
// come and go, processes are forked, options change, and memory runs out. In the end memory must not have grown.
//
//   soak MINUTES [SEED [PER_CENT]] [--forget BYTES]
//
// PER_CENT of the service's size, 100 if it is not said. --forget: each session loses a block of so many bytes, to see
// that this is noticed.
//
// Always holds: it calls plain malloc, so that it judges whatever allocator is preloaded; what libpoolalloc says of
// itself is compared with an account of the program's own, to the byte. A day's calm evening is the same each day, so
// what is resident there must be in the same proportion to what is live. Exits 0 after a line for each day and a
// verdict, or 1 after a line that names the law violated.
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "soak/measure.h"
#include "soak/own.h"
#include "soak/shard.h"

namespace {

// --- Workers --------------------------------------------------------------------------------------------------

// Where workers wait for the next half-hour, and the main thread for its end.
struct Gate {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t go = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
  uint64_t round;
  uint64_t half_hour;  // since the first day began
  unsigned workers;    // those with a higher number end
  bool is_work;
  unsigned running;
};
Gate gate;
Thread workers[kWorkersMost];
unsigned worker_count = 0;
uint64_t threads_started = 0;
double started, first_tick;
Shard* desk;  // the main thread's

struct Worker {
  unsigned number;
  uint64_t round;
  Random random;
};
Worker* worker_states;

void sleep_until(double time) {
  const double left = time - now();
  if (left > 0) usleep(useconds_t(left * 1e6));
}

double time_of(uint64_t tick) { return first_tick + double(tick) * service.calendar.seconds_per_tick(); }

void* visitor(void* argument) {
  visit(static_cast<Worker*>(argument)->random);
  return nullptr;
}

void work(Worker& worker, uint64_t half_hour) {
  const unsigned ticks = service.calendar.ticks_per_half_hour;
  for (uint64_t tick = half_hour * ticks; tick < (half_hour + 1) * ticks; tick++) {
    sleep_until(time_of(tick));
    Worker guest{worker.number, 0, Random{worker.random.next()}};
    Thread thread;
    const bool has_guest = worker.random.below(6) == 0 && thread_start(&thread, visitor, &guest);
    for (unsigned i = worker.number; i < kShards; i += gate.workers) shard_tick(service.shards[i], tick);
    if (has_guest) thread_join(thread);
  }
}

void* run_worker(void* argument) {
  Worker& worker = *static_cast<Worker*>(argument);
  for (;;) {
    pthread_mutex_lock(&gate.mutex);
    while (gate.round == worker.round) pthread_cond_wait(&gate.go, &gate.mutex);
    worker.round = gate.round;
    const bool stays = worker.number < gate.workers;
    const bool is_work = gate.is_work;
    pthread_mutex_unlock(&gate.mutex);
    if (!stays) return nullptr;
    if (!is_work) continue;
    work(worker, gate.half_hour);
    pthread_mutex_lock(&gate.mutex);
    if (--gate.running == 0) pthread_cond_signal(&gate.done);
    pthread_mutex_unlock(&gate.mutex);
  }
}

void next_round(bool is_work) {
  pthread_mutex_lock(&gate.mutex);
  gate.round++;
  gate.is_work = is_work;
  gate.running = gate.workers;
  pthread_cond_broadcast(&gate.go);
  pthread_mutex_unlock(&gate.mutex);
}

void workers_set(unsigned count) {
  pthread_mutex_lock(&gate.mutex);
  gate.workers = count;
  pthread_mutex_unlock(&gate.mutex);
  next_round(false);
  for (; worker_count > count; worker_count--) thread_join(workers[worker_count - 1]);
  for (; worker_count < count; worker_count++, threads_started++) {
    Worker& worker = worker_states[worker_count];
    worker.number = worker_count;
    worker.round = gate.round;
    thread_start(&workers[worker_count], run_worker, &worker);
  }
}

void wait_for_workers() {
  pthread_mutex_lock(&gate.mutex);
  while (gate.running != 0) pthread_cond_wait(&gate.done, &gate.mutex);
  pthread_mutex_unlock(&gate.mutex);
}

// --- What happens besides -----------------------------------------------------------------------------------

struct Events {
  uint64_t compared, children, trims, profiles, profile_bytes, limits, reads;
};
Events events;
bool is_profiled = false;
Figures* figures;
AtEnd at_end;

void compare(const char* when) {
  if (account_compare(when, worker_count, is_profiled ? Exact::sampled : Exact::equal)) events.compared++;
}

void* work_in_child(void* argument) {
  Shard& shard = *static_cast<Shard*>(argument);
  for (unsigned i = 0; i < 20; i++) answer(shard, i);
  return nullptr;
}

// What any child does, of whose parent other threads may be anywhere: with what the main thread had.
void use_what_is_mine(Shard& shard) {
  // Of the exit status depends what the parent says.
  service.forgotten = 0;
  shard.is_alone = true;
  shard_check(shard, 3);
  for (unsigned i = 0; i < 20; i++) answer(shard, i);
  Thread thread;
  if (thread_start(&thread, work_in_child, &shard, kChildPlace)) thread_join(thread);
  malloc_trim(0);
}

void child_amid_work() {
  in_child([] {
    use_what_is_mine(*desk);
    shard_drop(*desk);
  });
  events.children++;
}

// All workers rest: everything is as it was left, and the account holds in the child.
void child_at_rest(bool frees_all) {
  in_child([&] {
    compare("in a child");
    for (unsigned i = 0; i < service.shard_count; i++) shard_check(service.shards[i], frees_all ? 1 : 16);
    use_what_is_mine(*desk);
    if (!frees_all) return;
    desk->is_alone = false;
    for (unsigned i = 0; i < service.shard_count; i++) shard_drop(service.shards[i]);
    compare("in a child that has freed everything");
    const Account* sum = accounts_sum();
    if (sum->all.blocks != 0) violated("blocks are left in a child", nullptr, size_t(sum->all.blocks));
  });
  events.children++;
}

void read_figures() {
  if (!is_poolalloc()) return;
  figures_read(figures);
  events.reads++;
}

void profile_begin() {
  is_profiled = &poolalloc_profile_start != nullptr && poolalloc_profile_start(64 * kKiB) == 0;
  events.profiles += is_profiled;
}

void profile_write() {
  if (!is_profiled) return;
  char path[64];
  snprintf(path, sizeof path, "/tmp/soak-%d.pb.gz", int(getpid()));
  struct stat status;
  if (poolalloc_profile_write(path) != 0 || stat(path, &status) != 0) fail("soak: the profile cannot be written");
  unlink(path);
  events.profile_bytes += uint64_t(status.st_size);
}

// Blocks that malloc has ready for samples go back with their threads.
void profile_end() {
  if (!is_profiled) return;
  poolalloc_profile_stop();
  workers_set(0);
  malloc_trim(0);
  is_profiled = false;
}

// Little more than there is in use; what asks for more is refused, and lives with it.
void limit_set() {
  if (!is_poolalloc()) return;
  figures_read(figures);
  may_refuse = true;
  // Soft and hard: free memory goes back at once, and then allocation fails.
  char value[32];
  const long long in_use = figures->in_use / int64_t(kKiB);
  snprintf(value, sizeof value, "%lldK:%lldK", in_use, in_use + 512);
  option_set("limit", value);
  errno = 0;
  if (malloc(kTooMuch) != nullptr || errno != ENOMEM) violated("above the limit", nullptr, kTooMuch);
  events.limits++;
}

void limit_lift() {
  if (!may_refuse) return;
  option_set("limit", "none");
  may_refuse = false;
  Held held = block_take(kTooMuch, desk->random);
  block_drop(held);
}

void trim() {
  malloc_trim(0);
  events.trims++;
}

// Options change before these half-hours.
void change_options(unsigned half_hour) {
  if (half_hour == 13) option_set("purge", "eager");
  if (half_hour == 14) {
    option_set("purge", "off");
    option_set("foreign", "abort");
  }
  if (half_hour == 15) {
    options_reset();
    option_set("purge_floor", "4M");
    option_set("purge_ceiling", "64M");
  }
  if (half_hour == 16) options_reset();
}

// Before a half-hour, while all workers rest.
void at_rest(unsigned half_hour) {
  if (half_hour == 24) limit_lift();
  compare("at rest");
  if (half_hour == 8) profile_begin();
  if (half_hour == 11) {
    profile_end();
    compare("after the profile");
  }
  change_options(half_hour);
  if (half_hour == 5 || half_hour == 17 || half_hour == 29) child_at_rest(false);
  if (half_hour == 36) child_at_rest(true);
  if (half_hour == 12) trim();
  if (!may_refuse) workers_set(workers_of(half_hour));
}

// In the middle of a half-hour, while workers work.
void amid_work(unsigned half_hour, uint64_t tick) {
  shard_tick(*desk, tick);
  if (half_hour == 22) limit_set();
  if (half_hour == 9) profile_write();
  if (half_hour == 3 || half_hour == 6 || half_hour == 14) trim();
  if (half_hour % 3 == 0 && !may_refuse) child_amid_work();
  read_figures();
}

// --- Days --------------------------------------------------------------------------------------------------

// What has happened since the day before.
struct Since {
  uint64_t operations, children, threads;
  int64_t given_back;
};

void print_day(unsigned number, Since& since) {
  const Measured& day = measured_on(number);
  const Account* sum = accounts_sum();
  const uint64_t threads = threads_started + service.visitors;
  const int64_t given_back = is_poolalloc() ? (figures_read(figures), figures->given_back) : 0;
  say("day %2u  %5.0f s  live %6.1f MiB  resident %6.1f MiB  ratio %.4f (free in pools %.2f, kept %.2f)  of the burst "
      "went back %3.0f %%  %5.1f M "
      "operations  "
      "%llu forks  %llu threads  given back %.0f MiB",
      number + 1, now() - started, mib(day.live), mib(day.resident), day.ratio, day.free / day.live,
      day.kept / day.live, went_back(day) * 100, double(sum->operations - since.operations) / 1e6,
      (unsigned long long)(events.children - since.children), (unsigned long long)(threads - since.threads),
      mib(double(given_back - since.given_back)));
  since = {sum->operations, events.children, threads, given_back};
}

void live_through_day(unsigned day) {
  for (unsigned half_hour = 0; half_hour < kHalfHours; half_hour++) {
    gate.half_hour = uint64_t{day} * kHalfHours + half_hour;
    measure(day, half_hour);
    at_rest(half_hour);
    const uint64_t tick = gate.half_hour * service.calendar.ticks_per_half_hour;
    // Who is late does not hurry: a calm hour is calm on a busy machine, too, and the day longer.
    first_tick = fmax(first_tick, first_tick + now() - time_of(tick));
    next_round(true);
    sleep_until(time_of(tick) + service.calendar.seconds_per_day / kHalfHours / 2);
    amid_work(half_hour, tick);
    wait_for_workers();
  }
}

// All is freed; what is left is what was there before.
void end_service() {
  compare("at the end");
  workers_set(0);
  for (unsigned i = 0; i < service.shard_count; i++) shard_drop(service.shards[i]);
  at_end.resident = resident_bytes();
  trim();
  compare("at the end, everything freed");
  const Account* sum = accounts_sum();
  if (sum->all.blocks != 0 || sum->all.bytes != 0) violated("blocks are lost", nullptr, size_t(sum->all.bytes));
  at_end.resident_trimmed = resident_bytes();
  say("at the end: nothing is live, %.1f MiB resident, after a trim %.1f MiB", mib(double(at_end.resident)),
      mib(double(at_end.resident_trimmed)));
}

// --- The end ---------------------------------------------------------------------------------------------------

// What must have happened, so that nothing can pass by doing nothing.
unsigned count_missing() {
  const Account* sum = accounts_sum();
  struct {
    const char* what;
    uint64_t count;
    bool is_everywhere;
  } const all[] = {
      {"comparisons of the account", events.compared, false},
      {"limits", events.limits, false},
      {"refusals at the limit", sum->refusals, false},
      {"refusals by a heap", service.heap_refusals, false},
      {"heaps", service.heaps_made, false},
      {"statistics amid work", events.reads, false},
      {"forks", events.children, true},
      {"trims", events.trims, true},
      {"visiting threads", service.visitors, true},
      {"blocks handed over", service.handed_over, true},
      {"sessions", service.sessions_opened, true},
  };
  unsigned missing = 0;
  for (const auto& each : all) {
    if (each.count != 0 || (!each.is_everywhere && !is_poolalloc())) continue;
    say("soak: NOT TESTED: no %s", each.what);
    missing++;
  }
  say("%llu comparisons of the account, %llu forks, %llu sessions, %llu blocks handed over, %llu threads, %llu heaps, "
      "%llu refusals, %llu profiles of %llu bytes, %llu statistics amid work",
      (unsigned long long)events.compared, (unsigned long long)events.children,
      (unsigned long long)service.sessions_opened, (unsigned long long)service.handed_over,
      (unsigned long long)(threads_started + service.visitors), (unsigned long long)service.heaps_made,
      (unsigned long long)sum->refusals, (unsigned long long)events.profiles, (unsigned long long)events.profile_bytes,
      (unsigned long long)events.reads);
  return missing;
}

void start_service(uint64_t seed, double size) {
  Random random{seed};
  worker_states = own_array<Worker>(kWorkersMost);
  figures = own_array<Figures>(1);
  service.shard_count = kShards + 1;
  service.shards = own_array<Shard>(service.shard_count);
  for (unsigned i = 0; i < kShards; i++) shard_init(service.shards[i], random.next(), size);
  desk = &service.shards[kShards];
  shard_init(*desk, random.next(), size / 8);
  for (unsigned i = 0; i < kWorkersMost; i++) worker_states[i].random = Random{random.next()};
  // What libc allocates when a thread and a child are made first.
  Thread thread;
  thread_start(
      &thread, [](void*) -> void* { return nullptr; }, nullptr);
  thread_join(thread);
  in_child([] {});
  outside_measure();
}

}  // namespace

int main(int argc, char** argv) {
  double values[3] = {0, 1, 100};
  unsigned given = 0;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--forget") == 0 && i + 1 < argc) {
      service.forgotten = size_t(atoi(argv[++i]));
    } else if (given < 3) {
      values[given++] = strtod(argv[i], nullptr);
    }
  }
  if (!(values[0] > 0) || !(values[2] >= 1) || values[2] > 100) {
    fprintf(stderr, "usage: soak MINUTES [SEED [PER_CENT]] [--forget BYTES]\n");
    return 2;
  }
  service.calendar = calendar_of(values[0]);
  accounts_start();
  library_start();
  start_service(uint64_t(values[1]), values[2] / 100);
  say("soak: %u days of %.1f s, %u ticks each, seed %.0f, %.0f %% of the service, %s", service.calendar.days,
      service.calendar.seconds_per_day, service.calendar.ticks_per_day(), values[1], values[2],
      is_poolalloc() ? "libpoolalloc" : "another allocator than libpoolalloc");
  started = first_tick = now();
  Since since{};
  for (unsigned day = 0; day < service.calendar.days; day++) {
    live_through_day(day);
    print_day(day, since);
  }
  end_service();
  const bool has_all = count_missing() == 0;
  const bool is_good = memory_is_good(at_end) && has_all;
  say("soak: %s after %.0f s: %s", is_good ? "PASSED" : "FAILED", now() - started,
      events.compared != 0 ? "the account was equal" : "there was nothing to compare the account with");
  return is_good ? 0 : 1;
}
