// A part of the service (shard.h).
//
// Who may use it: through shard.h.
#include "shard.h"

#include <stdlib.h>

#include "own.h"

Service service;

size_t small_size(Random& random) {
  const size_t least = size_t{16} << random.below(7);
  return least + random.below(least);
}

uint64_t log_uniform(Random& random, double least, double most) {
  const double part = double(random.next() >> 11) * 0x1p-53;
  return uint64_t(least * pow(most / least, part));
}

void inbox_put(Inbox& inbox, Held& held) {
  if (held.p == nullptr) return;
  pthread_mutex_lock(&inbox.mutex);
  const bool has_room = inbox.count < kInbox;
  if (has_room) inbox.blocks[inbox.count++] = held;
  pthread_mutex_unlock(&inbox.mutex);
  if (!has_room) return block_drop(held);
  held = {nullptr, 0, 0};
  service.handed_over.fetch_add(1, std::memory_order_relaxed);
}

Held inbox_get(Inbox& inbox) {
  Held held{nullptr, 0, 0};
  pthread_mutex_lock(&inbox.mutex);
  if (inbox.count != 0) held = inbox.blocks[--inbox.count];
  pthread_mutex_unlock(&inbox.mutex);
  return held;
}

namespace {

unsigned ticks_per_day() { return service.calendar.ticks_per_day(); }

// So many in a day, spread over its ticks.
unsigned share_of_tick(Shard& shard, double per_day) {
  const double each = per_day / ticks_per_day();
  return unsigned(each) + (double(shard.random.below(1 << 20)) < (each - floor(each)) * (1 << 20) ? 1 : 0);
}

// --- Sessions -----------------------------------------------------------------------------------------------

// From a tick to a third of a day; one in a hundred for three days.
uint64_t session_end(Shard& shard, uint64_t tick) {
  if (shard.random.below(100) == 0) return tick + uint64_t{3} * ticks_per_day();
  return tick + log_uniform(shard.random, 1, fmax(2, ticks_per_day() / 3.0));
}

void session_open(Shard& shard, uint64_t tick) {
  const unsigned index = shard.unused[--shard.unused_count];
  Session& session = shard.sessions[index];
  session.count = 4 + unsigned(shard.random.below(kSessionBlocks - 3));
  for (unsigned i = 0; i < session.count; i++) session.blocks[i] = block_take(small_size(shard.random), shard.random);
  shard.session_ends[index] = session_end(shard, tick);
  // Some leave a block for ever.
  if (shard.kept_count < shard.kept_most && shard.random.below(50) == 0)
    shard.kept[shard.kept_count++] = block_take(small_size(shard.random), shard.random);
  if (service.forgotten != 0 && malloc(service.forgotten) == nullptr) violated("refused", nullptr, service.forgotten);
  service.sessions_opened.fetch_add(1, std::memory_order_relaxed);
}

void session_close(Shard& shard, unsigned index) {
  Session& session = shard.sessions[index];
  for (unsigned i = 0; i < session.count; i++) block_drop(session.blocks[i]);
  shard.session_ends[index] = 0;
  shard.unused[shard.unused_count++] = index;
}

void sessions_tick(Shard& shard, uint64_t tick, unsigned load) {
  for (unsigned i = 0; i < shard.session_count; i++) {
    if (shard.session_ends[i] != 0 && shard.session_ends[i] <= tick) session_close(shard, i);
  }
  const unsigned wanted = shard.session_count * (30 + load * 70 / 100) / 100;
  while (shard.session_count - shard.unused_count < wanted) session_open(shard, tick);
}

// --- The cache ----------------------------------------------------------------------------------------------

Held& cache_at(Cache& cache, unsigned index) { return cache.ring[(cache.first + index) % cache.room]; }

void cache_put(Shard& shard, Held held) {
  Cache& cache = shard.cache;
  const size_t most = size_t(double(kCacheSize) * shard.session_count / kSessions);
  while (cache.count != 0 && (cache.bytes + held.size > most || cache.count == cache.room)) {
    Held oldest = cache_at(cache, 0);
    cache.first = (cache.first + 1) % cache.room;
    cache.count--;
    if (shard.random.below(20) == 0) {
      cache_at(cache, cache.count++) = oldest;
    } else {
      cache.bytes -= oldest.size;
      block_drop(oldest);
    }
  }
  cache.bytes += held.size;
  cache_at(cache, cache.count++) = held;
}

// Six times a day everything is new; values have 250 bytes at midnight, and 4000 at noon.
void cache_tick(Shard& shard, uint64_t tick) {
  const double middle = 250 * pow(2, 4 * service.calendar.noon(tick));
  const double most = double(kCacheSize) * shard.session_count / kSessions;
  for (unsigned count = share_of_tick(shard, 6 * most / middle); count > 0; count--) {
    Held held = block_take(size_t(middle / 2) + shard.random.below(size_t(middle)), shard.random);
    if (held.p != nullptr) cache_put(shard, held);
  }
  if (shard.cache.count != 0) block_check(cache_at(shard.cache, unsigned(shard.random.below(shard.cache.count))));
}

// --- Logs and large blocks -------------------------------------------------------------------------------------

// They grow all day, and begin anew at midnight.
void logs_tick(Shard& shard, uint64_t tick) {
  if (tick % ticks_per_day() == 0) {
    for (Held& log : shard.logs) block_drop(log);
  }
  const double most = double(kLogSize) * shard.session_count / kSessions;
  Held& log = shard.logs[tick % kLogs];
  if (log.p == nullptr) log = block_take(64, shard.random);
  const size_t more = size_t(2 * most * kLogs / ticks_per_day());
  if (log.size < most) block_resize(log, log.size + shard.random.below(more + 1));
}

// The same ones each day: a few of them are a good part of all that is live.
void large_tick(Shard& shard, uint64_t tick) {
  const double most = 2.0 * kMiB * shard.session_count / kSessions;
  const bool is_midnight = tick % ticks_per_day() == 0;
  if (is_midnight) shard.daily = Random{shard.seed};
  for (unsigned i = 0; i < kLarge; i++) {
    if (shard.large_ends[i] > tick && !is_midnight) continue;
    block_drop(shard.large[i]);
    const size_t size = log_uniform(shard.daily, 70000, fmax(most, 200000));
    shard.large_ends[i] = tick + log_uniform(shard.daily, 1, fmax(2, ticks_per_day() / 8.0));
    shard.large[i] = block_take(size, shard.random);
  }
}

// --- Bursts ---------------------------------------------------------------------------------------------------

void burst_tick(Shard& shard, uint64_t tick) {
  if (!is_burst(service.calendar.half_hour_of(tick))) {
    while (shard.burst_count != 0) block_drop(shard.burst[--shard.burst_count]);
    shard.burst_bytes = 0;
    return;
  }
  const size_t most = size_t(double(kBurstSize) * shard.session_count / kSessions);
  const size_t now = most * (tick % service.calendar.ticks_per_half_hour + 1) / service.calendar.ticks_per_half_hour;
  while (shard.burst_bytes < now && shard.burst_count < shard.burst_room) {
    const size_t size =
        shard.random.below(64) == 0 ? log_uniform(shard.random, 4096, 100000) : 2 * small_size(shard.random);
    const Held held = block_take(size, shard.random);
    if (held.p == nullptr) return;
    shard.burst[shard.burst_count++] = held;
    shard.burst_bytes += held.size;
  }
}

template <typename Visit>
void each_block(Shard& shard, Visit visit) {
  for (unsigned i = 0; i < shard.session_count; i++) {
    if (shard.session_ends[i] == 0) continue;
    for (unsigned k = 0; k < shard.sessions[i].count; k++) visit(shard.sessions[i].blocks[k]);
  }
  for (unsigned i = 0; i < shard.cache.count; i++) visit(cache_at(shard.cache, i));
  for (unsigned i = 0; i < shard.burst_count; i++) visit(shard.burst[i]);
  for (unsigned i = 0; i < shard.kept_count; i++) visit(shard.kept[i]);
  for (Held& held : shard.pending) visit(held);
  for (Held& held : shard.logs) visit(held);
  for (Held& held : shard.large) visit(held);
  for (Held& held : shard.day) visit(held);
  if (!shard.is_alone) {
    for (unsigned i = 0; i < shard.inbox.count; i++) visit(shard.inbox.blocks[i]);
  }
}

}  // namespace

void shard_init(Shard& shard, uint64_t seed, double size) {
  shard.seed = seed;
  shard.random = shard.daily = Random{seed};
  shard.session_count = unsigned(kSessions * size);
  shard.sessions = own_array<Session>(shard.session_count);
  shard.session_ends = own_array<uint64_t>(shard.session_count);
  shard.unused = own_array<unsigned>(shard.session_count);
  while (shard.unused_count < shard.session_count) {
    shard.unused[shard.unused_count] = shard.session_count - 1 - shard.unused_count;
    shard.unused_count++;
  }
  shard.cache.room = unsigned(kCacheRing * size) + 1;
  shard.cache.ring = own_array<Held>(shard.cache.room);
  shard.burst_room = unsigned(kBurstBlocks * size);
  shard.burst = own_array<Held>(shard.burst_room);
  shard.kept_most = unsigned(kKept * size);
  shard.kept = own_array<Held>(kKept);
  pthread_mutex_init(&shard.inbox.mutex, nullptr);
}

void shard_tick(Shard& shard, uint64_t tick) {
  const unsigned half_hour = service.calendar.half_hour_of(tick);
  const unsigned load = kLoad[half_hour / 2];
  burst_tick(shard, tick);
  sessions_tick(shard, tick, load);
  cache_tick(shard, tick);
  logs_tick(shard, tick);
  large_tick(shard, tick);
  const unsigned per_cent = is_burst(half_hour) ? 1000 : load;
  const unsigned requests = 1 + kRequests * per_cent / 100 * shard.session_count / kSessions;
  for (unsigned i = 0; i < requests; i++) answer(shard, tick);
  if (shard.random.below(4) == 0) use_a_heap(shard);
  if (may_refuse.load()) {
    Held too_much = block_take(kTooMuch, shard.random);
    block_drop(too_much);
  }
  if (half_hour >= 4 && half_hour < 38) {
    day_heap_use(shard);
  } else {
    day_heap_end(shard);
  }
}

void shard_check(Shard& shard, unsigned step) {
  unsigned left = unsigned(shard.random.below(step));
  each_block(shard, [&](Held& held) {
    if (left-- != 0) return;
    left = step - 1;
    block_check(held);
  });
}

void shard_drop(Shard& shard) {
  day_heap_end(shard);
  each_block(shard, [](Held& held) { block_drop(held); });
  for (unsigned i = 0; i < shard.session_count; i++) {
    if (shard.session_ends[i] != 0) session_close(shard, i);
  }
  shard.cache.count = shard.burst_count = shard.kept_count = 0;
  shard.cache.bytes = shard.burst_bytes = 0;
  if (!shard.is_alone) shard.inbox.count = 0;
}

void visit(Random& random) {
  service.visitors.fetch_add(1, std::memory_order_relaxed);
  for (unsigned step = 0; step < 40; step++) {
    Held held = block_take(small_size(random), random);
    Held other = inbox_get(service.shards[random.below(service.shard_count)].inbox);
    block_drop(other);
    inbox_put(service.shards[random.below(service.shard_count)].inbox, held);
    Held brief = block_take(random.below(16) == 0 ? 10000 : 100, random);
    block_drop(brief);
  }
  free_at_thread_end(block_take(small_size(random), random));
}
