/* mappings <files|live|full> [number [percent]]: how many mappings the allocator needs, and what it does when there are
 * few left. files  the program has mapped a file 60,000 times; then blocks of all sizes come and go. Prints the
 * mappings that were added. live   so many GiB of blocks live, of which so many percent are touched; some are freed and
 * others taken. Prints the same. full   the program has used up all mappings that a process may have; then 200 MiB are
 * asked for in blocks of `number` bytes, when `percent` MiB were there before. Prints the MiB that were served, and KiB
 * resident: full, and freed and trimmed. Always: what is refused is refused with ENOMEM; blocks keep their bytes. */
#include "check.h"

static long mappings(void) {
  static char text[1 << 16];
  int file = open("/proc/self/maps", O_RDONLY);
  LAW(file >= 0, "no /proc/self/maps");
  long lines = 0;
  for (ssize_t got; (got = read(file, text, sizeof text)) > 0;)
    for (ssize_t i = 0; i < got; i++) lines += text[i] == '\n';
  close(file);
  return lines;
}

static long most_mappings(void) {
  char text[32] = {0};
  int file = open("/proc/sys/vm/max_map_count", O_RDONLY);
  LAW(file >= 0 && read(file, text, sizeof text - 1) > 0, "no max_map_count");
  close(file);
  return atol(text);
}

/* Every page a mapping of its own: the file's pages in reverse. Exits with 77 where so many are not allowed. */
static void map_files(long number) {
  int file = memfd_create("pages", MFD_CLOEXEC);
  LAW(file >= 0 && ftruncate(file, number * 4096) == 0, "no file");
  char* area = mmap(NULL, number * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  LAW(area != MAP_FAILED, "no room for the pages");
  for (long i = 0; i < number; i++) {
    void* page = mmap(area + i * 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, (number - 1 - i) * 4096);
    LAW(page != MAP_FAILED, "page %ld: %s", i, strerror(errno));
  }
}

enum { kSlots = 4096 };
static struct {
  unsigned char* block;
  size_t size;
} slots[kSlots];

static void renew(int which, size_t size, int must) {
  unsigned char* old = slots[which].block;
  LAW(!old || filled_some(old, slots[which].size, (unsigned)which), "a block of %zu bytes has changed",
      slots[which].size);
  free(old);
  errno = 0;
  slots[which].block = size ? malloc(size) : NULL;
  slots[which].size = size;
  if (slots[which].block)
    fill_some(slots[which].block, size, (unsigned)which);
  else
    LAW(size == 0 || (!must && errno == ENOMEM), "no block of %zu bytes, errno %d", size, errno);
}

/* Waves of blocks of one size each, so that memory of one kind is free when another one is wanted. */
static void* waves(void* argument) {
  uint64_t state = (uintptr_t)argument;
  int first = (int)(uintptr_t)argument * (kSlots / 4), last = first + kSlots / 4;
  for (size_t size = 48; size < 20 * MIB; size *= 3) {
    int number = size < MIB ? kSlots / 4 : 12;
    for (int round = 0; round < 3; round++)
      for (int i = 0; i < number; i++) renew(first + i, size + random_next(&state) % size, 1);
    if (argument == NULL) malloc_trim(0);
  }
  for (int i = first; i < last; i++) renew(i, 0, 1);
  return NULL;
}

static void beside_files(void) {
  long number = 60000;
  if (most_mappings() < number + 3000) exit(77);
  map_files(number);
  long before = mappings(), most = 0, resident = rss_kib();
  LAW(before >= number, "%ld mappings", before);
  pthread_t thread[3];
  for (uintptr_t i = 1; i < 4; i++) start_thread(&thread[i - 1], waves, (void*)i);
  waves(NULL);
  for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < kSlots; i++) {
    renew(i, (size_t)64 << i % 17, 1);
    if (i % 512 == 511 && mappings() - before > most) most = mappings() - before;
  }
  for (int i = 0; i < kSlots; i++) renew(i, 0, 1);
  malloc_trim(0);
  LAW(rss_kib() < resident + 16 * 1024, "%ld KiB resident before, %ld after all was given back", resident, rss_kib());
  printf("%ld\n", most);
}

static void much_live(size_t gib, int percent) {
  enum { kMost = 300000 };
  static unsigned char* blocks[kMost];
  long number = 0, before = mappings(), most = 0;
  uint64_t state = 11;
  /* As much again is taken and freed in between, in no order. */
  for (size_t total = 0, i = 0; total < gib * GIB; i++) {
    size_t size = ((size_t)20 << (10 + random_next(&state) % 8)) + random_next(&state) % 20000;
    unsigned char* block = malloc(size);
    LAW(block && number < kMost, "no memory");
    for (size_t at = 0; at < size * (size_t)percent / 100; at += 4096) block[at] = 1;
    total += size;
    if (number > 0 && random_next(&state) % 2) {
      long gone = (long)(random_next(&state) % (uint64_t)number);
      total -= malloc_usable_size(blocks[gone]);
      free(blocks[gone]);
      blocks[gone] = block;
    } else {
      blocks[number++] = block;
    }
    if (i % 512 == 0 && mappings() - before > most) most = mappings() - before;
  }
  if (mappings() - before > most) most = mappings() - before;
  printf("%ld\n", most);
}

static void when_full(size_t size, size_t warm) {
  size_t wanted = 200 * MIB, got = 0;
  void **first = NULL, **warm_first = NULL;
  for (size_t i = 0; i < warm * MIB / 1000; i++) {
    void** block = malloc(1000);
    LAW(block, "no memory");
    *block = warm_first;
    warm_first = block;
  }
  long number = most_mappings() + 1000;
  if (number > 2000000) exit(77);
  char* area = mmap(NULL, (size_t)number * 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  LAW(area != MAP_FAILED, "no room for mappings");
  long used = 0;
  while (used < number && mprotect(area + used * 8192, 4096, PROT_READ) == 0) used++;
  LAW(used < number && errno == ENOMEM, "there is no end of mappings");
  for (errno = 0; got < wanted; got += size) {
    void** block = malloc(size);
    if (!block) break;
    fill_some(block + 1, size - sizeof *block, (unsigned)size);
    *block = first;
    first = block;
  }
  LAW(got >= wanted || errno == ENOMEM, "errno %d", errno);
  long full = rss_kib();
  while (first) {
    void** next = *first;
    LAW(filled_some(first + 1, size - sizeof *first, (unsigned)size), "a block of %zu bytes has changed", size);
    free(first);
    first = next;
  }
  malloc_trim(0);
  printf("%zu %ld %ld\n", got / MIB, full, rss_kib());
}

int main(int argc, char** argv) {
  LAW(argc >= 2, "usage");
  size_t number = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, percent = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
  if (strcmp(argv[1], "files") == 0) beside_files();
  if (strcmp(argv[1], "live") == 0) much_live(number, (int)percent);
  if (strcmp(argv[1], "full") == 0) when_full(number, percent);
  return 0;
}
