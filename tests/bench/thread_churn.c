/* Stands for thread-per-task programs: short threads, half of whose blocks a later thread frees.
 *
 * Eight threads run at a time. Each frees the parcel that the one before it in its place left, allocates,
 * frees every other block, and leaves the rest as its own parcel.
 */
#include "message.h"

enum { kThreads = 6000, kPlaces = 8, kBlocks = 600 };

typedef struct Place {
  pthread_t thread;
  Message* parcel;
  uint64_t random, sum;
} Place;

static void* live_shortly(void* argument) {
  Place* place = argument;
  place->sum += batch_end(place->parcel);
  place->parcel = NULL;
  Message* dropped = NULL;
  for (int i = 0; i < kBlocks; i++) {
    Message** list = i % 2 == 0 ? &dropped : &place->parcel;
    *list = message_make(kMessageMin + random_small_size(&place->random), *list);
  }
  place->sum += batch_end(dropped);
  return NULL;
}

int main(int argc, char** argv) {
  static Place places[kPlaces];
  long threads = share(kThreads, argument(argc, argv, 1, 100));
  for (int i = 0; i < kPlaces; i++) places[i].random = 88172645463325252u + (unsigned)i;
  for (long i = 0; i < threads; i++) {
    Place* place = &places[i % kPlaces];
    if (i >= kPlaces) pthread_join(place->thread, NULL);
    if (pthread_create(&place->thread, NULL, live_shortly, place) != 0) fail("no thread");
  }
  uint64_t sum = 0;
  for (long i = 0; i < kPlaces && i < threads; i++) {
    pthread_join(places[i].thread, NULL);
    sum += places[i].sum + batch_end(places[i].parcel);
  }
  report_checksum(sum);
  return 0;
}
