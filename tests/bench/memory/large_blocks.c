/* Stands for programs of large blocks of which little, or all, is used: stacks, over-sized buffers, page caches, arenas.
 *
 * Each phase is a process of its own. Figures: what is resident of what was asked for, or in all, in MiB; of a buffer that
 * grows to 12 MiB again and again the milliseconds each time; of 2000 blocks of 4 MiB the mappings. Live in the record is
 * what has been touched.
 */
#include <sys/wait.h>

#include "probe.h"

enum { kMiB = 1 << 20 };
static long percent;
static double base;

static char* touched(char* block, size_t from, size_t until) {
  if (block == NULL) fail("no memory");
  for (size_t at = from; at < until; at += 4096) block[at] = 1;
  live_add((long)(until - from));
  return block;
}

/* malloc_trim may give back what was resident before. */
static void figure_resident(const char* name) {
  double more = resident_mib() - base;
  figure(name, more > 0 ? more : 0);
}
static void figure_share(const char* name, double asked) { figure(name, (resident_mib() - base) * kMiB / asked); }

/* A read loop's buffers: 64 KiB and a header. */
static void header(void) {
  const size_t size = 65536 + 464;
  long count = share(3000, percent);
  for (long i = 0; i < count; i++) touched(malloc(size), 0, size);
  figure_share("header_share", (double)size * (double)count);
}

static void untouched(void) {
  for (long i = share(1024, percent); i > 0; i--) touched(malloc(kMiB), 0, 0);
  figure_resident("untouched_mib");
}

static void stacks(void) {
  const size_t size = 256 << 10;
  for (long i = share(4000, percent); i > 0; i--) touched(malloc(size), size - 8192, size);
  figure_resident("stacks_mib");
}

/* Blocks of many sizes of which the first page is touched; they come and go, and in the end most go. */
static void sparse(void) {
  static char* blocks[20000];
  long count = share(20000, percent);
  uint64_t random = 88172645463325252u;
  for (long i = 0; i < 3 * count; i++) {
    char** block = &blocks[random_next(&random) % (uint64_t)count];
    free(*block);
    *block = touched(malloc(70000 + random_next(&random) % 200000), 0, 1);
  }
  for (long i = 0; i < count; i++) {
    if (i % 5 != 0) free(blocks[i]);
  }
  malloc_trim(0);
  figure_resident("sparse_mib");
}

static void aligned(void) {
  long count = share(300, percent);
  for (long i = 0; i < count; i++) touched(memalign(kMiB, kMiB), 0, kMiB);
  figure_share("aligned_share", (double)kMiB * (double)count);
}

static void shrunk(void) {
  long count = share(1000, percent);
  for (long i = 0; i < count; i++) {
    if (realloc(touched(malloc(256 << 10), 0, 256 << 10), 140000) == NULL) fail("no memory");
    live_add(140000 - (256 << 10));
  }
  figure_share("shrunk_share", 140000 * (double)count);
}

static void grown(void) {
  double start = 0;
  const long rounds = 40;
  for (long i = 0; i < rounds; i++) {
    if (i == rounds / 2) start = now_s();
    char* block = NULL;
    size_t old = 0;
    for (size_t size = 65536; size <= 12 * kMiB; old = size, size = size * 3 / 2) {
      block = realloc(block, size);
      memset(block + old, 1, size - old);
    }
    free(block);
  }
  figure("grown_ms", (now_s() - start) * 1000 / (double)(rounds / 2));
}

static void many(void) {
  for (long i = share(2000, percent); i > 0; i--) touched(malloc(4 * kMiB), 0, 1);
  static char text[1 << 20];
  int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  long lines = 0, got;
  while ((got = read(file, text, sizeof text)) > 0) {
    for (long i = 0; i < got; i++) lines += text[i] == '\n';
  }
  close(file);
  figure("mappings", (double)lines);
}

int main(int argc, char** argv) {
  static void (*const kPhases[])(void) = {header, untouched, stacks, sparse, aligned, shrunk, grown, many};
  percent = argument(argc, argv, 1, 100);
  probe_began = now_s();
  for (size_t i = 0; i < sizeof kPhases / sizeof *kPhases; i++) {
    pid_t child = fork();
    if (child == 0) {
      probe_continue();
      /* An ordinary heap besides. */
      for (int block = 0; block < 150000; block++) block_make(100, 1);
      base = resident_mib();
      kPhases[i]();
      sleep_ms(150);
      exit(0);
    }
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) fail("a phase failed");
  }
  return 0;
}
