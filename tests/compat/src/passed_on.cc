// Every name of the malloc family, from several threads and in a forked child, in a program whose calls may be passed
// on to the C library. `passed`, or `served`, is the first argument; EARLY has a block made before that was decided.
// Always: what is handed out keeps every law of malloc; whose it is, is told by the C library's own record of it.
#include <malloc.h>
#include <poolalloc.h>
#include <sys/wait.h>

#include <new>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

static bool passed;
#ifdef TAKES_ADDRESS
extern void* (*const allocate)(size_t);
void* (*const allocate)(size_t) = malloc;
void (*const release)(void*) = free;
#endif

// Bytes that this library holds for the program, and that libc does. From libc itself: the name may be ours.
static size_t ours() {
  poolalloc_stats stats{};
  static auto look = (decltype(&poolalloc_stats_get))dlsym(RTLD_DEFAULT, "poolalloc_stats_get");
  if (look) look(&stats, sizeof stats);
  return stats.live_bytes;
}
static size_t libcs() {
#ifdef STATIC
  return 0;
#endif
  static struct mallinfo2 (*look)() =
      (struct mallinfo2(*)())dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), "mallinfo2");
  struct mallinfo2 info = look();
  return info.uordblks + info.hblkhd;
}

static void filled(void* block, size_t size, size_t alignment) {
  LAW(block != nullptr && (uintptr_t)block % alignment == 0, "%zu bytes at %p", size, block);
  LAW(malloc_usable_size(block) >= size, "usable: %zu of %zu", malloc_usable_size(block), size);
  memset(block, 0x5a, size);
}

// Blocks of every maker, kept all at once.
static void makers(size_t size, std::vector<void*>& out) {
  const size_t page = sysconf(_SC_PAGESIZE);
  auto keep = [&](void* block, size_t alignment) { filled(block, size, alignment), out.push_back(block); };
  keep(malloc(size), 16);
  char* zero = (char*)calloc(1, size);
  for (size_t i = 0; i < size; i++) LAW(zero[i] == 0, "calloc: byte %zu", i);
  keep(zero, 16);
  keep(realloc(nullptr, size), 16);
  keep(reallocarray(nullptr, size, 1), 16);
  keep(memalign(256, size), 256);
  keep(aligned_alloc(64, size), 64);
  void* block = nullptr;
  LAW(posix_memalign(&block, 128, size) == 0, "posix_memalign");
  keep(block, 128);
  keep(valloc(size), page);
  keep(pvalloc(size), page);
}

static void grow_and_free(std::vector<void*>& blocks, size_t size) {
  for (void*& block : blocks) {
    char* moved = (char*)realloc(block, size * 3 + 7);
    for (size_t i = 0; i < size; i++) LAW(moved[i] == 0x5a, "realloc lost byte %zu", i);
    filled(moved, size * 3 + 7, 16);
    block = moved;
  }
  for (void* block : blocks) {
    errno = 12345;
    free(block);
    LAW(errno == 12345, "free changed errno to %d", errno);
  }
  blocks.clear();
}

static void cxx() {
  struct alignas(128) Wide {
    char bytes[384];
  };
  for (int i = 0; i < 200; i++) {
    delete new std::string(i * 9, 'x');
    delete[] new std::string[i + 1];
    delete new Wide;
    delete[] new (std::nothrow) Wide[3];
    ::operator delete(::operator new(i), size_t(i));
  }
}

static void everything() {
  std::vector<void*> blocks;
  for (size_t size : {1, 24, 100, 1000, 5000, 33000, 70000, 600000}) {
    makers(size, blocks);
    grow_and_free(blocks, size);
  }
  cxx();
}

static void whose() {
  const size_t ours_before = ours(), libcs_before = libcs(), total = 40 * MIB;
  std::vector<void*> blocks;
  for (size_t done = 0; done < total; done += 20000) {
    blocks.push_back(malloc(10000));
    blocks.push_back(calloc(100, 100));
  }
  const size_t ours_grown = ours() - ours_before, libcs_grown = libcs() - libcs_before;
  LAW((passed ? libcs_grown : ours_grown) >= total && (passed ? ours_grown : libcs_grown) < 2 * MIB,
      "of %zu bytes libc has %zu, the library %zu", total, libcs_grown, ours_grown);
  LAW(!passed || mallinfo2().uordblks + mallinfo2().hblkhd >= total, "mallinfo2 is another's");
  for (void* block : blocks) free(block);
  LAW(malloc_trim(0) == 1, "nothing was given back");
}

#ifdef EARLY
static void* early;
static int chosen() { return 1; }
static int (*resolve(void))() {
  early = malloc(opaque_n(3000));
  memset(early, 0x5a, 3000);
  return chosen;
}
extern "C" int indirect() __attribute__((ifunc("_ZL7resolvev")));
#endif

int main(int, char** arguments) {
  passed = strcmp(arguments[1], "passed") == 0;
  whose();
#ifdef EARLY
  LAW(indirect() == 1, "the resolver");
  std::vector<void*> before{early};
  grow_and_free(before, 3000);
#endif
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; i++) threads.emplace_back(everything);
  for (auto& thread : threads) thread.join();
  // Freed by another thread than has made it, and in a child.
  std::vector<void*> handed;
  std::thread([&] { makers(500, handed); }).join();
  const pid_t child = fork();
  if (child == 0) {
    grow_and_free(handed, 500);
    everything();
    _exit(0);
  }
  int status;
  LAW(waitpid(child, &status, 0) == child && status == 0, "the child: %#x", status);
  grow_and_free(handed, 500);
  whose();
  return 0;
}
