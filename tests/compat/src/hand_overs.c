/* hand_overs <producers> <consumers> <blocks>: blocks of 16 bytes to 1 MiB go through a queue from those who allocate
 * them to those who free them. Prints, in KiB, the most that was live at one time, and the most that was resident
 * beyond the start. Always: each page of a block is touched and each block arrives as it was sent; the queue holds so
 * many bytes at the most. */
#include "check.h"

enum { kPlaces = 1 << 19, kBatch = 32, kLiveMost = 256 << 20 };
typedef struct Item {
  unsigned char* block;
  size_t size;
} Item;
static Item places[kPlaces];
static long first, count, live, most_live, most_resident, still_sent;
static int draining; /* from when the queue is full until a quarter is left */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_room = PTHREAD_COND_INITIALIZER, has_items = PTHREAD_COND_INITIALIZER;

/* Small ones mostly: a doubling of the size is met less often by a factor of about 1.4. */
static size_t next_size(uint64_t* state) {
  int power = 0;
  while (power < 16 && random_next(state) % 10 < 7) power++;
  size_t size = 16 + random_next(state) % ((size_t)16 << power);
  return size < MIB ? size : MIB;
}

static void* produce(void* argument) {
  long blocks = *(long*)argument;
  uint64_t state = (uintptr_t)&blocks;
  for (long sent = 0; sent < blocks; sent += kBatch) {
    Item batch[kBatch];
    long bytes = 0;
    for (int i = 0; i < kBatch; i++) {
      size_t size = next_size(&state);
      batch[i] = (Item){malloc(size), size};
      LAW(batch[i].block, "malloc(%zu)", size);
      fill_some(batch[i].block, size, (unsigned)size);
      bytes += (long)size;
    }
    pthread_mutex_lock(&lock);
    live += bytes;
    if (live > most_live) most_live = live;
    while (count + kBatch > kPlaces || live > kLiveMost) {
      draining = 1;
      pthread_cond_broadcast(&has_items);
      pthread_cond_wait(&has_room, &lock);
    }
    for (int i = 0; i < kBatch; i++) places[(first + count++) % kPlaces] = batch[i];
    still_sent -= kBatch;
    if (still_sent == 0) pthread_cond_broadcast(&has_items);
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static long take(Item* batch) {
  pthread_mutex_lock(&lock);
  while (still_sent > 0 && (!draining || count == 0)) pthread_cond_wait(&has_items, &lock);
  long taken = count < kBatch ? count : kBatch;
  for (long i = 0; i < taken; i++) batch[i] = places[(first + i) % kPlaces];
  first = (first + taken) % kPlaces;
  count -= taken;
  pthread_mutex_unlock(&lock);
  return taken;
}

static void* consume(void* argument) {
  Item batch[kBatch];
  (void)argument;
  for (long rounds = 0, taken; (taken = take(batch)) > 0; rounds++) {
    long bytes = 0;
    for (long i = 0; i < taken; i++) {
      LAW(filled_some(batch[i].block, batch[i].size, (unsigned)batch[i].size), "a block of %zu bytes has changed",
          batch[i].size);
      free(batch[i].block);
      bytes += (long)batch[i].size;
    }
    pthread_mutex_lock(&lock);
    live -= bytes;
    if (rounds % 256 == 0 && rss_kib() > most_resident) most_resident = rss_kib();
    if (live < kLiveMost / 4 || count == 0) draining = 0;
    if (live < kLiveMost) pthread_cond_broadcast(&has_room);
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

int main(int argc, char** argv) {
  LAW(argc == 4, "usage");
  long producers = atol(argv[1]), consumers = atol(argv[2]), blocks = atol(argv[3]) / producers / kBatch * kBatch;
  LAW(producers + consumers <= 32, "too many threads");
  memset(places, 1, sizeof places);
  still_sent = blocks * producers;
  long before = rss_kib();
  pthread_t thread[32];
  for (long i = 0; i < producers; i++) start_thread(&thread[i], produce, &blocks);
  for (long i = 0; i < consumers; i++) start_thread(&thread[producers + i], consume, NULL);
  for (long i = 0; i < producers + consumers; i++) pthread_join(thread[i], NULL);
  LAW(live == 0 && count == 0, "%ld bytes were not freed", live);
  printf("%ld %ld\n", most_live / 1024, most_resident - before);
  return 0;
}
