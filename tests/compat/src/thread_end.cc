// thread_end <threads> <older|younger>: everything that runs when a thread ends allocates and frees: destructors of keys made
// before and after the allocator's first use, which set their keys again in all four rounds, and of thread_local objects.
// Always: blocks are intact there, memory is flat over the threads' number, and nothing of a thread's own is lost.
#include "check.h"

static pthread_key_t keys[8];
static long rounds_seen;

static void *dirty(size_t size, unsigned seed) {
  void *block = malloc(size);
  LAW(block, "malloc(%zu) at the end of a thread", size);
  fill(block, size, seed);
  return block;
}

struct Value {
  int which, round;
  unsigned char bytes[1000];
};

static void set_again(pthread_key_t key, Value *old, int round) {
  Value *value = static_cast<Value *>(malloc(sizeof(Value)));
  LAW(value, "malloc in a destructor");
  *value = Value{old->which, round, {}};
  fill(value->bytes, sizeof value->bytes, round);
  free(old);
  pthread_setspecific(key, value);
}

static void destructor(void *argument) {
  Value *value = static_cast<Value *>(argument);
  LAW(filled(value->bytes, sizeof value->bytes, value->round), "a key's block has changed in round %d", value->round);
  __atomic_add_fetch(&rounds_seen, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 8; i++) free(realloc(dirty(50 << i, i), 5000));
  if (value->round == value->which % 4) free(calloc(1, 70000));
  if (value->round < 3) set_again(keys[value->which], value, value->round + 1);
  else free(value);
}

struct Local {
  void *block = dirty(2000, 8);
  ~Local() {
    LAW(filled(block, 2000, 8), "a thread_local object's block has changed");
    free(block);
    delete[] new char[500];
    // The next thing to run at this thread's end is made only now.
    struct Late {
      void *more = dirty(100, 9);
      ~Late() {
        LAW(filled(more, 100, 9), "a late thread_local object's block has changed");
        free(more);
      }
    };
    static thread_local Late late;
    late.more = realloc(late.more, 200);
  }
};

static thread_local Local local;

static void *passed[64];  // blocks that a thread made and main frees later

static void *body(void *argument) {
  long number = reinterpret_cast<long>(argument);
  if (number % 5 == 4) return nullptr;  // a thread without any allocation of its own
  if (number % 3 == 0) local.block = realloc(local.block, 3000);
  for (int which = 0; which < 8; which++) {
    Value *value = static_cast<Value *>(malloc(sizeof(Value)));
    *value = Value{which, 0, {}};
    fill(value->bytes, sizeof value->bytes, 0);
    pthread_setspecific(keys[which], value);
  }
  for (int i = 0; i < 20; i++) free(dirty(100 * i + 1, i));
  free(__atomic_exchange_n(&passed[number % 64], dirty(3000, 1), __ATOMIC_ACQ_REL));
  return nullptr;
}

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  long count = atol(argv[1]), flat = 0, with_keys = 0;
  pthread_key_t *early = static_cast<pthread_key_t *>(dlsym(RTLD_DEFAULT, "early_key"));
  void (**early_destructor)(void *) = static_cast<void (**)(void *)>(dlsym(RTLD_DEFAULT, "early_destructor"));
  LAW(early && early_destructor, "the library with the early key is not loaded");
  // A process's first key has the number 0, and destructors run in the order of numbers.
  LAW((*early == 0) == (strcmp(argv[2], "older") == 0), "the early key has the number %u", *early);
  *early_destructor = destructor;
  keys[0] = *early;
  for (int i = 1; i < 8; i++) LAW(pthread_key_create(&keys[i], destructor) == 0, "pthread_key_create");
  for (long done = 0; done < count; done += 4) {
    pthread_t thread[4];
    for (long i = 0; i < 4; i++) start_thread(&thread[i], body, reinterpret_cast<void *>(done + i));
    for (long i = 0; i < 4; i++) {
      pthread_join(thread[i], nullptr);
      with_keys += (done + i) % 5 != 4;
    }
    if (!flat && done >= count / 5) flat = rss_kib();
  }
  LAW(rounds_seen == with_keys * 8 * 4, "%ld destructor calls, not %ld", rounds_seen, with_keys * 32);
  LAW(rss_kib() < flat + 6144, "%ld KiB after a fifth of the threads, %ld KiB at the end", flat, rss_kib());
  exercise_heap();
  return 0;
}
