/* large_blocks MANNER NUMBER...: allocates as programs do that have large, sparse, aligned or shrinking blocks. Prints what
 * has become resident meanwhile, what of the blocks was written to, and what they were asked for, in KiB; how many
 * mappings have been added; how many different addresses blocks had; page faults.
 * Always: blocks that were written to keep their content; memory of the program's own is touched before it counts. */
#include "check.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { MOST = 400000 };
static unsigned char *blocks[MOST];
static size_t sizes[MOST];
static long count;
static size_t touched, asked;
static long addresses;

static size_t page_end(size_t at) { return (at | 4095) + 1; }

/* Writes to every page of [from, until) of a block. */
static void touch(unsigned char *block, size_t from, size_t until) {
  for (size_t at = from; at < until; at = page_end(at)) block[at] = (unsigned char)(at >> 12 | 1);
  touched += until > from ? page_end(until - 1) - from / 4096 * 4096 : 0;
}

static unsigned char *keep(void *block, size_t size) {
  LAW(block != NULL && count < MOST, "no memory for %zu bytes, block %ld", size, count);
  asked += size;
  sizes[count] = size;
  return blocks[count++] = block;
}

static long mappings(void) {
  static char text[1 << 16];
  long lines = 0;
  int file = open("/proc/self/maps", O_RDONLY);
  for (ssize_t got; (got = read(file, text, sizeof text)) > 0;)
    for (ssize_t i = 0; i < got; i++) lines += text[i] == '\n';
  close(file);
  return lines;
}

static long faults(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

static void *in_thread(void *argument) {
  free(malloc(100000));
  return argument;
}

/* What a process must still be able to do. */
static void live_on(void) {
  pthread_t thread;
  start_thread(&thread, in_thread, NULL);
  pthread_join(thread, NULL);
  LAW(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "mmap: %s", strerror(errno));
  pid_t child = fork();
  if (child == 0) {
    in_thread(NULL);
    _exit(0);
  }
  int status = -1;
  LAW(child > 0 && waitpid(child, &status, 0) == child && status == 0, "fork: %s, status %d", strerror(errno), status);
}

static uint64_t state = 1;
static size_t between(size_t least, size_t most) {
  return least + (size_t)(random_next(&state) << 20 ^ random_next(&state)) % (most - least + 1);
}

/* Blocks of one size, written to from `from` to `until` per cent. */
static void plain(size_t size, long number, size_t from, size_t until) {
  for (long i = 0; i < number; i++) touch(keep(malloc(size), size), size * from / 100, size * until / 100);
}

static void aligned(size_t alignment, size_t size, long number, size_t percent) {
  for (long i = 0; i < number; i++) {
    void *block = memalign(alignment, size);
    LAW((uintptr_t)block % alignment == 0, "%p is not aligned to %zu", block, alignment);
    touch(keep(block, size), 0, percent != 0 ? size * percent / 100 : 1);
  }
}

/* Sparse blocks of many sizes that come and go; four fifths are freed in the end. */
static void sparse(long number) {
  for (long i = 0; i < number; i++) {
    size_t size = between(70000, 270000);
    keep(malloc(size), size)[0] = 1;
  }
  for (int round = 0; round < 3; round++) {
    for (long i = 0; i < number; i++) {
      if (i % 3 == 0) continue;
      free(blocks[i]);
      size_t size = between(70000, 470000);
      blocks[i] = malloc(size);
      LAW(blocks[i] != NULL, "no memory");
      blocks[i][0] = 1;
    }
  }
  asked = 0;
  for (long i = 0; i < number; i++) {
    if (i % 5) free(blocks[i]);
    else touched += 4096, asked += malloc_usable_size(blocks[i]);
  }
  malloc_trim(0);
}

/* Filled, then made smaller. */
static void shrink(size_t from, size_t to, long number) {
  for (long i = 0; i < number; i++) {
    unsigned char *block = malloc(from);
    LAW(block != NULL, "no memory");
    for (size_t at = 0; at < from; at += 512) block[at] = (unsigned char)(at >> 9 | 1);
    block = realloc(block, to);
    for (size_t at = 0; at < to; at += 512) LAW(block[at] == (unsigned char)(at >> 9 | 1), "lost at %zu of %zu", at, to);
    keep(block, to);
    touched += to;
  }
}

/* Arrays that grow side by side by a factor of `percent`, and are filled as far as they are asked for, but for the last
 * step, of which half is. */
static void grow_arrays(size_t least, size_t most, size_t percent, long number) {
  for (long i = 0; i < number; i++) keep(malloc(least), least), touch(blocks[i], 0, least);
  for (size_t size = least; size < most;) {
    size_t larger = size * percent / 100;
    for (long i = 0; i < number; i++) {
      blocks[i] = realloc(blocks[i], larger);
      LAW(blocks[i] != NULL, "no memory");
      LAW(blocks[i][0] == 1 && blocks[i][(size - 1) / 4096 * 4096] == (unsigned char)((size - 1) / 4096 | 1), "lost");
      touch(blocks[i], page_end(size - 1), larger < most ? larger : size + (larger - size) / 2);
      asked += larger - size;
    }
    size = larger;
  }
}

/* One buffer grown by half from 64 KiB on, and freed, again and again: faults of the later rounds. */
static void grow_buffer(size_t most, long rounds) {
  long before = 0;
  for (long i = 0; i < rounds; i++) {
    if (i == rounds / 2) before = faults();
    unsigned char *block = NULL;
    size_t old = 0;
    for (size_t size = 65536; size <= most; old = size, size = size * 3 / 2) {
      block = realloc(block, size);
      LAW(block != NULL, "no memory");
      touch(block, old, size);
    }
    free(block);
  }
  addresses = (faults() - before) / (rounds - rounds / 2);
}

/* Blocks that come and go: at how many addresses. */
static void again(size_t alignment, size_t size, long rounds, size_t percent) {
  for (long i = 0; i < rounds; i++) {
    unsigned char *block = memalign(alignment, size);
    LAW(block != NULL, "no memory");
    touch(block, 0, size * percent / 100);
    long j = 0;
    while (j < addresses && blocks[j] != block) j++;
    if (j == addresses) blocks[addresses++] = block;
    free(block);
  }
}

/* A video player: frames of three planes in rings; each is rewritten as a whole. */
static void frames(long number) {
  static const size_t planes[] = {1920 * 1088, 960 * 544, 960 * 544, 3840 * 2176, 1920 * 1088, 1920 * 1088};
  for (long i = 0; i < number; i++) {
    size_t size = planes[i % 6] + 64;
    void *block = NULL;
    LAW(posix_memalign(&block, 64, size) == 0, "no memory");
    touch(keep(block, size), 0, size);
    if (i % 7 == 6) {
      long gone = (long)between(0, (size_t)count - 1);
      free(blocks[gone]);
      asked -= sizes[gone], touched -= page_end(sizes[gone] - 1);
      blocks[gone] = blocks[--count], sizes[gone] = sizes[count];
    }
  }
}

/* A page cache: pages and a header each, evicted at random. */
static void page_cache(size_t page, long number) {
  for (long i = 0; i < number; i++) touch(keep(malloc(page), page), 0, page);
  for (long i = 0; i < 2 * number; i++) {
    long gone = (long)between(0, (size_t)number - 1);
    free(blocks[gone]);
    blocks[gone] = malloc(page);
    LAW(blocks[gone] != NULL, "no memory");
    for (size_t at = 0; at < page; at += 4096) blocks[gone][at] = 1;
  }
}

/* Random sizes, alignments and shares that are written to, all living. */
static void any(uint64_t seed, size_t most, size_t total) {
  state = seed * 2 + 1;
  while (asked < total) {
    size_t size = between(32 * KIB, between(32 * KIB, most));
    size_t alignment = between(0, 3) == 0 ? (size_t)4096 << between(0, 10) : 16;
    unsigned char *block = keep(memalign(alignment, size), size);
    size_t from = between(0, size), until = between(0, size);
    if (between(0, 2) == 0) from = 0, until = size;
    touch(block, from < until ? from : until, from < until ? until : from);
  }
}

static void fill_up(size_t size) {
  for (void *block; count < MOST && (block = malloc(size)) != NULL;) keep(block, size);
  LAW(errno == ENOMEM, "errno is %d", errno);
  for (long i = 0; i < count; i++) free(blocks[i]);
  long before = count;
  for (count = 0; count < MOST && malloc(size) != NULL;) count++;
  LAW(count >= before - before / 50, "%ld blocks of %zu bytes, and then %ld", before, size, count);
}

/* All memory is locked: no more of it is there than was asked for, and what is freed goes back. */
static void locked(long number) {
  LAW(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall: %s", strerror(errno));
  long before = rss_kib();
  for (long i = 0; i < number; i++) {
    size_t size = 20000 + (size_t)i * 30;
    touch(keep(malloc(size), size), 0, size);
  }
  long full = rss_kib() - before;
  LAW(full <= (long)(touched / 1024) * 5 / 4 + 8 * 1024, "%ld KiB resident for %zu KiB", full, touched / 1024);
  for (long i = 0; i < number; i++) free(blocks[i]);
  malloc_trim(0);
  unsigned char *zero = calloc(1, 300000);
  LAW(zero != NULL && all_zero(zero, 300000), "calloc is not zero");
  free(zero);
}

int main(int argc, char **argv) {
  LAW(argc >= 2, "usage");
  const char *manner = argv[1];
  size_t n[4] = {0};
  for (int i = 2; i < argc && i < 6; i++) n[i - 2] = strtoull(argv[i], NULL, 10);
  memset(blocks, 1, sizeof blocks);
  memset(sizes, 1, sizeof sizes);
  /* An ordinary heap besides, in which huge pages pay. */
  for (int i = 0; i < 150000; i++) memset(malloc(100), 1, 100);
  long before = rss_kib(), maps_before = mappings();
  if (strcmp(manner, "plain") == 0) plain(n[0], (long)n[1], n[2], n[3]);
  else if (strcmp(manner, "aligned") == 0) aligned(n[0], n[1], (long)n[2], n[3]);
  else if (strcmp(manner, "sparse") == 0) sparse((long)n[0]);
  else if (strcmp(manner, "shrink") == 0) shrink(n[0], n[1], (long)n[2]);
  else if (strcmp(manner, "arrays") == 0) grow_arrays(n[0], n[1], n[2], (long)n[3]);
  else if (strcmp(manner, "buffer") == 0) grow_buffer(n[0], (long)n[1]);
  else if (strcmp(manner, "again") == 0) again(n[0], n[1], (long)n[2], n[3]);
  else if (strcmp(manner, "frames") == 0) frames((long)n[0]);
  else if (strcmp(manner, "page-cache") == 0) page_cache(n[0], (long)n[1]);
  else if (strcmp(manner, "any") == 0) any(n[0], n[1], n[2]);
  else if (strcmp(manner, "locked") == 0) locked((long)n[0]);
  else if (strcmp(manner, "fill-up") == 0) fill_up(n[0]);
  else LAW(0, "no such manner: %s", manner);
  long resident = rss_kib() - before, maps = mappings() - maps_before;
  if (getenv("LIVE_ON") != NULL) live_on();
  printf("%ld %zu %zu %ld %ld\n", resident, touched / 1024, asked / 1024, maps, addresses);
  return 0;
}
