/* Stands for a service over hours: sessions that come and go, a cache that evicts, bursts, and quiet spells.
 *
 * Four threads, each with sessions that gather small objects and end at random, and a share of a cache of
 * 64 MiB whose entries replace each other; every few seconds a thread has a burst of 32 MiB, and all but
 * one rest for a while. The second argument is how many seconds it runs. Figures: resident/live over the last
 * half (the mean), and the last quarter relative to the one before.
 */
#include "probe.h"

enum { kThreads = 4, kSessions = 2000, kObjects = 64, kEntries = 8192, kBurst = 16384 };

typedef struct Server {
  pthread_t thread;
  uint64_t random;
  int index;
  int counts[kSessions];
  Slot sessions[kSessions][kObjects];
  Slot cache[kEntries];
  Slot burst[kBurst];
} Server;

static Server servers[kThreads];
static double ends;

static long renew(Slot* slot, size_t size) {
  long change = (long)size - (long)slot->size;
  slot_renew(slot, size, 1);
  return change;
}

static long end(Slot* slot) {
  long size = (long)slot->size;
  slot_end(slot, 1);
  *slot = (Slot){NULL, 0};
  return -size;
}

static long one_request(Server* server) {
  long change = 0;
  int session = (int)(random_next(&server->random) % kSessions);
  for (int more = 1 + (int)(random_next(&server->random) % 6); more > 0; more--) {
    if (server->counts[session] == kObjects || random_next(&server->random) % 100 == 0) {
      while (server->counts[session] > 0) change += end(&server->sessions[session][--server->counts[session]]);
    }
    change += renew(&server->sessions[session][server->counts[session]++], random_small_size(&server->random));
  }
  Slot* entry = &server->cache[random_next(&server->random) % kEntries];
  return change + renew(entry, random_mixed_size(&server->random));
}

static void* serve(void* argument) {
  Server* server = argument;
  for (long tick = 0; now_s() < ends; tick++) {
    long change = 0;
    for (int i = 0; i < 200; i++) change += one_request(server);
    live_add(change);
    if ((tick + server->index * 500) % 2000 == 0) {
      change = 0;
      for (int i = 0; i < kBurst; i++) change += renew(&server->burst[i], random_mixed_size(&server->random));
      live_add(change);
      change = 0;
      for (int i = 0; i < kBurst; i++) change += end(&server->burst[i]);
      live_add(change);
    }
    if (server->index != 0 && tick % 4000 >= 3000) sleep_ms(2);
    sleep_ms(1);
  }
  return NULL;
}

int main(int argc, char** argv) {
  argument(argc, argv, 1, 100);
  long seconds = argument(argc, argv, 2, 60);
  touch(servers, sizeof servers);
  double base = resident_mib(), quarters[4] = {0};
  long counts[4] = {0};
  probe_start();
  double start = now_s();
  ends = start + (double)seconds;
  for (int i = 0; i < kThreads; i++) {
    servers[i].index = i;
    servers[i].random = 88172645463325252u + (unsigned)i;
    if (pthread_create(&servers[i].thread, NULL, serve, &servers[i]) != 0) fail("no thread");
  }
  for (double now; (now = now_s()) < ends; sleep_ms(50)) {
    int quarter = (int)((now - start) * 4 / (double)seconds);
    quarters[quarter] += (resident_mib() - base) * 1048576 / (double)__atomic_load_n(&probe_live, __ATOMIC_RELAXED);
    counts[quarter]++;
  }
  for (int i = 0; i < kThreads; i++) pthread_join(servers[i].thread, NULL);
  figure("resident_per_live", (quarters[2] + quarters[3]) / (double)(counts[2] + counts[3]));
  figure("growth", quarters[3] / (double)counts[3] / (quarters[2] / (double)counts[2]));
  return 0;
}
