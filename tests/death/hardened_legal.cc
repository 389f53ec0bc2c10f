// hardened_legal CASE: a program that does nothing wrong, of a kind that the hardened library might take for wrong.
//
//   handed    eight threads free what others have made
//   forked    parent and child both free and make, with threads
//   aligned   every alignment with many sizes
//   moved     realloc up and down, with what was in it
//   cleared   calloc of what was written before
//   exact     malloc_usable_size is what was asked for, and all of it may be used
//   ends      threads end, others free their blocks
//   nothing   a million blocks of no bytes
//   operators every form of new with each delete that suits it
//   handler   operator new gets its memory from a new_handler
//   grown     a block grows to 256 MiB by small steps, in time, with what was in it
//   shrunk    where there is no memory left, realloc still makes blocks smaller
//   mappings  large blocks come and go in their thousands, and leave the kernel's mappings to others
//   space     where address space is limited, what was freed is not kept from the program
//   counted   the library's statistics count what the program has, and nothing else
//
// Always holds: "alive" at the end.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>
#include <new>

#define LAW(law) ((law) ? (void)0 : (printf("%d: " #law "\n", __LINE__), fflush(stdout), _exit(3)))

static const size_t sizes[] = {0, 1, 8, 16, 24, 25, 100, 104, 120, 1000, 4096, 20000, 65528, 65529, 70000, 300000};
enum { size_count = sizeof sizes / sizeof *sizes, small_count = 12, threads_most = 8, handed_count = 64 };

static char* fill(void* p, size_t size, int seed) {
  LAW(p != nullptr);
  memset(p, seed, size);
  return static_cast<char*>(p);
}
static bool is_filled(const char* p, size_t size, int seed) {
  for (size_t i = 0; i < size; i++) {
    if (p[i] != static_cast<char>(seed)) return false;
  }
  return true;
}

static char* shared[threads_most * handed_count];

static void* hand_over(void* unused) {
  uint64_t state = reinterpret_cast<uintptr_t>(&state) | 1;
  for (int i = 0; i < 100000; i++) {
    state = state * 6364136223846793005 + 1442695040888963407;
    size_t size = 8 + sizes[(state >> 33) % small_count];
    char* mine = fill(malloc(size), size, static_cast<int>(size));
    memcpy(mine, &size, sizeof size);
    char* other = __atomic_exchange_n(&shared[(state >> 40) % (threads_most * handed_count)], mine, __ATOMIC_ACQ_REL);
    if (other == nullptr) continue;
    memcpy(&size, other, sizeof size);
    LAW(is_filled(other + sizeof size, size - sizeof size, static_cast<int>(size)));
    free(other);
  }
  return unused;
}

static void in_threads(void* (*work)(void*)) {
  pthread_t threads[threads_most];
  for (pthread_t& thread : threads) LAW(pthread_create(&thread, nullptr, work, nullptr) == 0);
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
}

static void free_shared() {
  for (char*& each : shared) free(each), each = nullptr;
}

static void forked() {
  for (int round = 0; round < 10; round++) {
    pthread_t thread;
    LAW(pthread_create(&thread, nullptr, hand_over, nullptr) == 0);
    char* mine[200];
    for (int i = 0; i < 200; i++) mine[i] = fill(malloc(sizes[i % size_count]), sizes[i % size_count], i);
    pid_t child = fork();
    LAW(child >= 0);
    for (int i = 0; i < 200; i++) {
      LAW(is_filled(mine[i], sizes[i % size_count], i));
      free(mine[i]);
    }
    if (child == 0) {
      in_threads([](void* unused) -> void* {
        for (int i = 0; i < 1000; i++) free(fill(malloc(sizes[i % size_count]), sizes[i % size_count], i));
        return unused;
      });
      _exit(0);
    }
    int status;
    LAW(waitpid(child, &status, 0) == child && status == 0);
    pthread_join(thread, nullptr);
  }
  free_shared();
}

static void aligned() {
  for (size_t alignment = 8; alignment <= size_t{64} << 20; alignment *= 2) {
    for (size_t size : sizes) {
      for (int i = 0; i < 3; i++) {
        char* p = fill(memalign(alignment, size), size, i);
        void* q;
        LAW(posix_memalign(&q, alignment, size) == 0);
        LAW(reinterpret_cast<uintptr_t>(p) % alignment == 0 && reinterpret_cast<uintptr_t>(q) % alignment == 0);
        LAW(malloc_usable_size(p) == size && malloc_usable_size(fill(q, size, 7)) == size);
        LAW(is_filled(p, size, i));
        free(p), free(realloc(q, size + 1));
      }
    }
  }
}

static void moved() {
  for (size_t from : sizes) {
    for (size_t to : sizes) {
      for (int i = 0; i < 4; i++) {
        char* p = static_cast<char*>(realloc(fill(malloc(from), from, i + 1), to));
        LAW(to == 0 ? p == nullptr : is_filled(p, from < to ? from : to, i + 1));
        free(fill(realloc(p, 50), 50, 1));
      }
    }
  }
}

static void cleared() {
  for (int round = 0; round < 300; round++) {
    for (size_t size : sizes) {
      char* p = static_cast<char*>(calloc(1, size));
      LAW(p != nullptr && is_filled(p, size, 0));
      free(fill(p, size, 0xbd));
    }
  }
}

static void exact() {
  for (size_t size = 0; size < 200000; size += size < 3000 ? 1 : 997) {
    char* p = fill(malloc(size), size, 0xff);
    LAW(malloc_usable_size(p) == size);
    free(p);
  }
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (size_t size = 1; size < 200000; size += 997) {
    char* p = fill(valloc(size), size, 0xff);
    char* whole = fill(pvalloc(size), (size + page - 1) / page * page, 0xff);
    LAW(malloc_usable_size(p) == size && malloc_usable_size(whole) == (size + page - 1) / page * page);
    LAW(reinterpret_cast<uintptr_t>(p) % page == 0 && reinterpret_cast<uintptr_t>(whole) % page == 0);
    free(p);
    free(whole);
  }
}

static void ends() {
  for (int round = 0; round < 200; round++) {
    in_threads([](void* unused) -> void* {
      for (int i = 0; i < 200; i++) {
        char*& place = shared[(reinterpret_cast<uintptr_t>(&i) / 4096 + i * 31) % (threads_most * handed_count)];
        free(__atomic_exchange_n(&place, static_cast<char*>(malloc(sizes[i % small_count])), __ATOMIC_ACQ_REL));
      }
      return unused;
    });
    free_shared();
  }
}

static void nothing() {
  constexpr int many = 1000000;
  void** made = static_cast<void**>(malloc(many * sizeof *made));
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < many; i++) {
      made[i] = round == 0 ? malloc(0) : operator new(0);
      LAW(made[i] != nullptr && reinterpret_cast<uintptr_t>(made[i]) % 16 == 0);
    }
    for (int i = 0; i < many; i++) round == 0 ? free(made[i]) : operator delete(made[i]);
  }
  free(made);
}

static void operators() {
  constexpr std::align_val_t a{64};
  for (size_t size : sizes) {
    for (int i = 0; i < 4; i++) {
      auto made = [=](void* p) { return static_cast<void*>(fill(p, size, i)); };
      operator delete(made(operator new(size)));
      operator delete(made(operator new(size, std::nothrow)), size);
      operator delete(made(operator new(size)), std::nothrow);
      operator delete[](made(operator new[](size)));
      operator delete[](made(operator new[](size, std::nothrow)), size);
      operator delete[](made(operator new[](size)), std::nothrow);
      operator delete(made(operator new(size, a)), a);
      operator delete(made(operator new(size, a, std::nothrow)), size, a);
      operator delete[](made(operator new[](size, a)), a);
      operator delete[](made(operator new[](size, a, std::nothrow)), size, a);
    }
  }
}

static rlimit old_limit;
static void limit_space() {
  rlimit limit{rlim_t{300} << 20, old_limit.rlim_max};
  LAW(setrlimit(RLIMIT_AS, &limit) == 0);
}
static void handler() {
  getrlimit(RLIMIT_AS, &old_limit);
  std::set_new_handler([] { LAW(setrlimit(RLIMIT_AS, &old_limit) == 0); });
  constexpr size_t size = size_t{400} << 20;
  for (int i = 0; i < 2; i++) {
    limit_space(), operator delete(operator new(size), size);
    limit_space(), operator delete[](operator new[](size));
    limit_space(), operator delete(operator new(size, std::nothrow));
    limit_space(), operator delete[](operator new[](size, std::align_val_t(64)), std::align_val_t(64));
  }
}

static void grown() {
  const size_t step = 64 << 10, most = size_t{256} << 20;
  char* block = nullptr;
  for (size_t size = step; size <= most; size += step) {
    block = static_cast<char*>(realloc(block, size));
    LAW(block != nullptr && malloc_usable_size(block) == size);
    for (size_t at = size - step; at < size; at += 4096) block[at] = static_cast<char>(at / step);
    block[size - 1] = 'e';
  }
  for (size_t at = 0; at < most; at += 4096) LAW(block[at] == static_cast<char>(at / step));
  block = static_cast<char*>(realloc(block, most - 1));
  LAW(block != nullptr && block[most - 4096] == static_cast<char>((most - 1) / step));
  free(block);
  // And by steps that end within a page.
  for (size_t odd : {size_t{100}, size_t{3001}, size_t{50021}}) {
    size_t size = 100000;
    block = fill(malloc(size), size, 1);
    for (int i = 0; i < 60; i++) {
      block = static_cast<char*>(realloc(block, size + odd));
      LAW(block != nullptr && is_filled(block, size, 1));
      size += odd;
      fill(block, size, 1);
      if (i % 20 != 19) continue;
      free(block);
      block = fill(malloc(size), size, 1);
    }
    free(block);
  }
}

static void shrunk() {
  char* blocks[] = {fill(malloc(1000000), 1000000, 1), fill(malloc(20000), 20000, 2)};
  getrlimit(RLIMIT_AS, &old_limit);
  limit_space();
  for (size_t size : {size_t{1} << 20, size_t{5000}, size_t{16}}) {
    while (malloc(size) != nullptr) {
    }
  }
  blocks[0] = static_cast<char*>(realloc(blocks[0], 900000));
  blocks[1] = static_cast<char*>(realloc(blocks[1], 5000));
  LAW(blocks[0] != nullptr && is_filled(blocks[0], 900000, 1));
  LAW(blocks[1] != nullptr && is_filled(blocks[1], 5000, 2));
}

static int count_mappings() {
  FILE* maps = fopen("/proc/self/maps", "r");
  LAW(maps != nullptr);
  int lines = 0;
  for (int c; (c = fgetc(maps)) != EOF;) lines += c == '\n';
  fclose(maps);
  return lines;
}
static void mappings() {
  enum { count = 20000 };
  static char* blocks[count];
  uint64_t state = 1;
  for (char*& block : blocks) block = static_cast<char*>(malloc(70000));
  // With guards, if these are mappings.
  const int before = count_mappings();
  for (int i = 0; i < 6 * count; i++) {
    state = state * 6364136223846793005 + 1442695040888963407;
    char*& block = blocks[(state >> 33) % count];
    free(block);
    block = static_cast<char*>(malloc(66000 + (state >> 50)));
    LAW(block != nullptr);
  }
  LAW(count_mappings() < 2 * before + 1000);
  for (char* block : blocks) free(block);
}

static void space() {
  const size_t large = size_t{300} << 20;
  rlimit limit{size_t{1500} << 20, size_t{1500} << 20};
  LAW(setrlimit(RLIMIT_AS, &limit) == 0);
  for (int i = 0; i < 4; i++) free(malloc(large));
  void* own = mmap(nullptr, size_t{700} << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  LAW(own != MAP_FAILED);
}

static long faults() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// Faults of blocks that are made one after the other, of which one byte in so many is read, and then written to: two for
// each small page.
static long faults_of_blocks(size_t step) {
  const size_t size = size_t{8} << 20;
  const long before = faults();
  for (int i = 0; i < 30; i++) {
    char* block = static_cast<char*>(malloc(size));
    for (size_t at = 0; at < size; at += step) LAW(block[at] == 0), block[at] = 'x';
    free(block);
  }
  return faults() - before;
}

// Large blocks have new memory each time; what is known to be filled has it in huge pages.
static void dense() {
  void* other = malloc(12 << 20);
  memset(other, 'x', 12 << 20);
  const long pages = 30 * ((8 << 20) / sysconf(_SC_PAGESIZE));
  LAW(faults_of_blocks(1 << 16) < pages / 4);
  const long filled = faults_of_blocks(64);
  char policy[64] = "";
  if (FILE* file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r")) {
    LAW(fgets(policy, sizeof policy, file) != nullptr);
    fclose(file);
  }
  const bool has_huge_pages = strstr(policy, "[madvise]") != nullptr || strstr(policy, "[always]") != nullptr;
  LAW(!has_huge_pages || filled < pages);
  free(other);
}

static void counted() {
  for (int round = 0; round < 3; round++) {
    struct mallinfo2 before = mallinfo2();
    void* blocks[100];
    for (size_t i = 0; i < 100; i++) blocks[i] = malloc(i % 2 == 0 ? 500 : 200000);
    void* aligned = memalign(1 << 20, 200000);
    struct mallinfo2 now = mallinfo2();
    size_t large = now.hblkhd - before.hblkhd, small = now.uordblks - before.uordblks;
    LAW(now.hblks - before.hblks == 51 && large >= 51 * 200000 && large <= 51 * 210000);
    LAW(small >= 50 * 500 && small <= 50 * 600);
    for (void* block : blocks) free(block);
    free(aligned);
    struct mallinfo2 after = mallinfo2();
    LAW(after.hblks == before.hblks && after.hblkhd == before.hblkhd && after.uordblks == before.uordblks);
  }
}

static void* come_and_go(void* unused) {
  static const size_t freed_last[] = {100, 1000, 5000};
  for (size_t size : freed_last) {
    for (int i = 0; i < 300; i++) free(fill(malloc(size), size, i));
  }
  return unused;
}

// What a thread has freed last is free when it has ended.
static void ended() {
  constexpr int many = 60;
  constexpr size_t little = 200000;  // what libc keeps for threads
  const size_t before = mallinfo2().uordblks;
  for (int i = 0; i < many; i++) {
    pthread_t thread;
    LAW(pthread_create(&thread, nullptr, come_and_go, nullptr) == 0 && pthread_join(thread, nullptr) == 0);
  }
  LAW(mallinfo2().uordblks <= before + little);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto is = [=](const char* name) { return strcmp(argv[1], name) == 0; };
  if (is("handed")) in_threads(hand_over), free_shared();
  if (is("forked")) forked();
  if (is("aligned")) aligned();
  if (is("moved")) moved();
  if (is("cleared")) cleared();
  if (is("exact")) exact();
  if (is("ends")) ends();
  if (is("nothing")) nothing();
  if (is("operators")) operators();
  if (is("handler")) handler();
  if (is("grown")) grown();
  if (is("shrunk")) shrunk();
  if (is("mappings")) mappings();
  if (is("space")) space();
  if (is("counted")) counted();
  if (is("dense")) dense();
  if (is("ended")) ended();
  puts("alive");
  return 0;
}
