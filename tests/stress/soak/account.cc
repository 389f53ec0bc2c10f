// The shadow account (account.h).
//
// Who may use it: through account.h.
#include "account.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "own.h"

Place* places;
thread_local Account* self;
std::atomic<bool> may_refuse{false};

namespace {

pthread_mutex_t places_mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_key_t last_key;
Held* last_blocks;
Account* sum;

struct Start {
  void* (*run)(void*);
  void* argument;
};
Start* starts;

void free_last(void* place) { block_drop(*static_cast<Held*>(place)); }

unsigned place_take(unsigned place) {
  pthread_mutex_lock(&places_mutex);
  if (place == kPlaces) {
    for (place = kChildPlace + 1; place < kPlaces && places[place].is_taken;) place++;
  }
  if (place == kPlaces) violated("more threads than places", nullptr, 0);
  places[place].is_taken = true;
  pthread_mutex_unlock(&places_mutex);
  return place;
}

void* enter_and_run(void* argument) {
  const unsigned place = unsigned(static_cast<Start*>(argument) - starts);
  thread_enter(place);
  return starts[place].run(starts[place].argument);
}

}  // namespace

void accounts_start() {
  places = own_array<Place>(kPlaces);
  sum = own_array<Account>(1);
  starts = own_array<Start>(kPlaces);
  last_blocks = own_array<Held>(kPlaces);
  for (unsigned i = 0; i < kPlaces; i++) {
    places[i].stack = static_cast<char*>(own_take(kStackSize));
    places[i].account.stamps = uint64_t{i} << 48;
  }
  if (pthread_key_create(&last_key, free_last) != 0) violated("no key", nullptr, 0);
  places[kMainPlace].is_taken = places[kChildPlace].is_taken = true;
  thread_enter(kMainPlace);
}

const Account* accounts_sum() {
  *sum = {};
  for (unsigned i = 0; i < kPlaces; i++) {
    const Account& each = places[i].account;
    sum->all.bytes += each.all.bytes;
    sum->all.blocks += each.all.blocks;
    sum->large.bytes += each.large.bytes;
    sum->large.blocks += each.large.blocks;
    for (size_t size = 0; size < kSizeCount; size++) sum->of[size] += each.of[size];
    sum->operations += each.operations;
    sum->refusals += each.refusals;
  }
  return sum;
}

bool thread_start(Thread* thread, void* (*run)(void*), void* argument, unsigned place) {
  const bool may_fail = may_refuse.load();
  // The places in a child belong to threads that are not there, and so may the mutex.
  thread->place = place == kPlaces ? place_take(place) : place;
  starts[thread->place] = {run, argument};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, places[thread->place].stack, kStackSize);
  const int error = pthread_create(&thread->id, &attributes, enter_and_run, &starts[thread->place]);
  if (error == 0) return true;
  if (!may_fail) violated("no thread", nullptr, size_t(error));
  self->refusals++;
  places[thread->place].is_taken = thread->place == kChildPlace;
  return false;
}

void thread_join(const Thread& thread) {
  if (pthread_join(thread.id, nullptr) != 0) violated("cannot be joined", nullptr, 0);
  if (thread.place == kChildPlace) return;
  pthread_mutex_lock(&places_mutex);
  places[thread.place].is_taken = false;
  pthread_mutex_unlock(&places_mutex);
}

void thread_enter(unsigned place) { self = &places[place].account; }

void free_at_thread_end(const Held& held) {
  Held* place = &last_blocks[self->stamps >> 48];
  if (place->p != nullptr) block_drop(*place);
  *place = held;
  pthread_setspecific(last_key, place);
}

// --- Blocks ---------------------------------------------------------------------------------------------------

namespace {

Held refused(size_t size, bool may_fail) {
  if (!may_fail && !may_refuse.load()) violated("refused", nullptr, size);
  if (errno != ENOMEM) violated("refused with another errno than ENOMEM", nullptr, size_t(errno));
  self->refusals++;
  return {nullptr, 0, 0};
}

void check_zero(const char* p, size_t size) {
  if (size != 0 && (p[0] != 0 || memcmp(p, p + 1, size - 1) != 0)) violated("calloc is not zero", p, size);
}

}  // namespace

Held block_adopt(void* p, size_t asked, size_t alignment) {
  if (uintptr_t(p) % alignment != 0) violated("misaligned", p, asked);
  const size_t size = malloc_usable_size(p);
  if (size < asked) violated("usable size below what was asked for", p, asked);
  Held held{static_cast<char*>(p), size, self->stamps++};
  self->add(size, 1);
  fill(held);
  return held;
}

Held block_take(size_t size, Random& random) {
  const bool may_fail = may_refuse.load();
  const uint64_t what = random.below(64);
  size_t alignment = kSizeStep;
  void* p = nullptr;
  self->operations++;
  errno = 0;
  if (what < 8) {
    p = calloc(1, size);
    if (p != nullptr) check_zero(static_cast<char*>(p), size);
  } else if (what < 10) {
    alignment = size_t{32} << random.below(6);
    // A whole number of alignments, as C11 asks for.
    size = (size + alignment - 1) / alignment * alignment;
    p = aligned_alloc(alignment, size);
  } else if (what == 10) {
    alignment = size_t{64} << random.below(8);
    errno = posix_memalign(&p, alignment, size);
    if (errno != 0) p = nullptr;
  } else {
    p = malloc(size);
  }
  return p != nullptr ? block_adopt(p, size, alignment) : refused(size, may_fail);
}

void block_resize(Held& held, size_t size) {
  if (held.p == nullptr) return;
  const bool may_fail = may_refuse.load();
  check(held, held.size, "overwritten");
  self->operations++;
  errno = 0;
  void* p = realloc(held.p, size);
  if (p == nullptr) {
    refused(size, may_fail);
    return check(held, held.size, "realloc that was refused lost contents");
  }
  Held old = held;
  old.p = static_cast<char*>(p);
  check(old, size < old.size ? size : old.size, "realloc lost contents");
  self->add(old.size, -1);
  held = block_adopt(p, size, kSizeStep);
}

void block_check(const Held& held) { check(held, held.size, "overwritten"); }

void block_forget(Held& held) {
  if (held.p == nullptr) return;
  check(held, held.size, "overwritten");
  self->add(held.size, -1);
  held = {nullptr, 0, 0};
}

void block_drop(Held& held) {
  if (held.p == nullptr) return;
  char* p = held.p;
  if (malloc_usable_size(p) != held.size) violated("the usable size has changed", p, held.size);
  block_forget(held);
  self->operations++;
  free(p);
}
