/* legal CASE: a program whose memory looks as if it were misused, and is not.
 *
 *   links    live blocks begin with what stood in free ones, and are freed
 *   handed   the same, freed by another thread
 *   moved    what stands at the end of fresh blocks is moved to their start
 *   aligned  blocks of every function that makes some, of all sizes, freed by all that take one
 *   counted  blocks are freed by others while the statistics are gathered
 *   forked   parent and child both free what there was before the fork
 *   handler  a signal handler allocates and frees, and keeps some; it interrupts neither malloc nor free
 *
 * Always holds: "alive" at the end, after which as many bytes are in use as before.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { many = 1000, sizes = 12 };
static const size_t size_of[sizes] = {16, 32, 48, 100, 256, 500, 1000, 1024, 3000, 5000, 20000, 60000};
static uintptr_t word[many];
static char *block[many], *home[many];

static void fail(const char* what) {
  printf("%s\n", what);
  _exit(3);
}

static size_t in_use(void) { return mallinfo2().uordblks + mallinfo2().hblkhd; }

static void* free_all(void* from) {
  for (int i = 0; i < many; i++) free(((char**)from)[i]);
  return NULL;
}

static void free_where(int in_thread) {
  pthread_t thread;
  if (!in_thread) {
    free_all(block);
  } else if (pthread_create(&thread, NULL, free_all, block) != 0 || pthread_join(thread, NULL) != 0) {
    fail("no thread");
  }
}

/* The first words of free blocks, and where they stood. */
static void learn(size_t size) {
  static char* kept[many / 8 + 1];
  for (int i = 0; i < many; i++) home[i] = malloc(size);
  for (int i = 0; i < many; i++) {
    if (i % 8 != 0) free(home[i]);
  }
  for (int i = 0; i < many; i++) {
    memcpy(&word[i], home[i], sizeof *word);
    if (i % 8 == 0) kept[i / 8] = home[i];
  }
  for (int i = 0; i < many; i += 8) free(kept[i / 8]);
}

static uintptr_t word_for(const char* p, int i, int round) {
  if (round % 2 == 0) {
    for (int j = 0; j < many; j++) {
      if (home[j] == p) return word[j];
    }
  }
  return word[(i * 7 + round) % many];
}

/* How long it may take to free a block that looks free. */
static const double seconds_most = 100e-6;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void links(int in_thread) {
  double seconds = 0;
  int rounds = 0;
  for (int s = 0; s < sizes; s++) {
    learn(size_of[s]);
    for (int other = 0; other < sizes; other += other == s ? 3 : 1) {
      for (int round = 0; round < 3; round++) {
        size_t size = size_of[(s + other) % sizes];
        uintptr_t is[many];
        for (int i = 0; i < many; i++) {
          block[i] = malloc(size);
          is[i] = word_for(block[i], i, round);
          memcpy(block[i], &is[i], sizeof *is);
          if (size > 16) memcpy(block[i] + 8, &is[i], sizeof *is);
        }
        for (int i = 0; i < many; i++) {
          if (memcmp(block[i], &is[i], sizeof *is) != 0) fail("a block has changed");
        }
        double from = now();
        free_where(in_thread);
        seconds += now() - from;
        rounds++;
      }
    }
  }
  if (seconds > rounds * many * seconds_most) fail("slow");
}

static void moved(void) {
  for (int round = 0; round < 40; round++) {
    size_t size = size_of[round % sizes];
    for (int i = 0; i < many; i++) {
      block[i] = malloc(size);
      memmove(block[i], block[i] + size - size / 2, size / 2);
      if (i % 3 == 0) memmove(block[i], block[i] + 8, 8);
    }
    free_where(round / sizes % 2);
    /* Other classes take these slices over. */
    malloc_trim(0);
  }
}

static void free_somehow(void* p, int i) {
  if (i % 3 == 0) {
    free(p);
  } else if (i % 3 == 1) {
    if (realloc(p, 0)) fail("realloc to nothing");
  } else {
    free(realloc(p, malloc_usable_size(p) + 1 + i % 5000));
  }
}

static void aligned(void) {
  for (size_t alignment = 1; alignment <= 1 << 21; alignment *= 2) {
    for (size_t size = 0; size < 200000; size = size * 8 / 7 + 1) {
      void* made[5] = {memalign(alignment, size), aligned_alloc(alignment, size), calloc(1, size),
                       realloc(malloc(size / 2 + 1), size + 1), NULL};
      if (alignment >= sizeof(void*) && posix_memalign(&made[4], alignment, size) != 0) fail("posix_memalign");
      for (int i = 0; i < 5; i++) {
        if (!made[i] && i != 4) fail("no block");
        if (made[i]) memset(made[i], 0xff, malloc_usable_size(made[i]));
      }
      for (int i = 0; i < 5; i++) {
        if (made[i]) free_somehow(made[i], i + (int)(size % 7));
      }
    }
  }
}

static volatile int ended;
static void* count(void* unused) {
  while (!ended) {
    mallinfo2();
    malloc_trim(0);
  }
  return unused;
}

static void counted(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, count, NULL) != 0) fail("no thread");
  for (int round = 0; round < 60; round++) {
    for (int i = 0; i < many; i++) block[i] = malloc(size_of[(round + i) % 8]);
    free_where(round % 2);
  }
  ended = 1;
  pthread_join(thread, NULL);
}

static void forked(void) {
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < many; i++) block[i] = malloc(size_of[(round + i) % 10]);
    pid_t child = fork();
    if (child < 0) fail("no child");
    /* Each frees what the other one frees, too. */
    for (int i = 0; i < many / 2; i++) free(block[i]), block[i] = malloc(size_of[i % 10]);
    free_where((child == 0) ^ (round % 2));
    if (child == 0) _exit(0);
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) fail("the child has failed");
  }
}

static char* volatile caught[64];
static volatile int signals;
static void handler(int number) {
  int i = signals++ % 64;
  free(caught[i]);
  caught[i] = malloc(size_of[signals % sizes]);
  if (!caught[i]) fail("no block in a handler");
  memset(caught[i], signals, 16);
  for (int j = 0; j < 8; j++) free(malloc(size_of[(signals + j) % sizes]));
}

static void handled(void) {
  struct itimerval every = {{0, 200}, {0, 200}};
  sigset_t alarms;
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  sigprocmask(SIG_BLOCK, &alarms, NULL);
  signal(SIGALRM, handler);
  setitimer(ITIMER_REAL, &every, NULL);
  while (signals < 1000) {
    for (int i = 0; i < 300; i++) block[i] = malloc(size_of[(signals + i) % 8]);
    sigprocmask(SIG_UNBLOCK, &alarms, NULL);
    for (int i = 0; i < 300; i++) memset(block[i], 0xff, 16);
    sigprocmask(SIG_BLOCK, &alarms, NULL);
    for (int i = 0; i < 300; i++) free(block[i]);
  }
  sigprocmask(SIG_UNBLOCK, &alarms, NULL);
  every = (struct itimerval){{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &every, NULL);
  for (int i = 0; i < 64; i++) free(caught[i]);
}

static void step(const char* which) {
  int is_links = strcmp(which, "links") == 0;
  if (is_links || strcmp(which, "handed") == 0) links(!is_links);
  if (strcmp(which, "moved") == 0) moved();
  if (strcmp(which, "aligned") == 0) aligned();
  if (strcmp(which, "counted") == 0) counted();
  if (strcmp(which, "forked") == 0) forked();
  if (strcmp(which, "handler") == 0) handled();
}

static pthread_barrier_t started;
static void* start(void* unused) {
  pthread_barrier_wait(&started);
  return unused;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  setvbuf(stdout, NULL, _IONBF, 0);
  /* What libc keeps of two threads' start. */
  pthread_t thread[2];
  pthread_barrier_init(&started, NULL, 2);
  for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, start, NULL);
  for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
  size_t before = in_use();
  step(argv[1]);
  malloc_trim(0);
  size_t after = in_use();
  if (after != before) printf("%zu bytes in use, %zu before\n", after, before), fail("lost");
  puts("alive");
  return 0;
}
