// browser <library>: a program as browsers are: with an allocator of its own that exports the whole family and all
// operators, and ends the program at the first block that is not its own; it has threads, children, and loads
// libraries. Always: what the program, libc, the C++ runtime and loaded libraries allocate and free is the program's.
#include "check.h"

#include <dirent.h>
#include <netdb.h>
#include <sys/wait.h>

#include <algorithm>
#include <map>
#include <new>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {
constexpr size_t kArena = size_t{1} << 32;
char* arena;
size_t used;
long calls, freed;

struct Head {
  size_t size, mark;
};
constexpr size_t kMark = 0x6d61726b;

char* own_memory() {
  static char* memory = static_cast<char*>(
      mmap(nullptr, kArena, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return memory;
}

Head* head_of(void* block) {
  Head* head = static_cast<Head*>(block) - 1;
  bool is_inside = static_cast<char*>(block) > arena && static_cast<char*>(block) < arena + kArena;
  LAW(is_inside && head->mark == kMark, "%p is no block of the program's", block);
  return head;
}

void* take(size_t size, size_t alignment) {
  if (arena == nullptr) arena = own_memory();
  __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
  if (alignment < 16) alignment = 16;
  size_t room = (size + alignment + sizeof(Head) + 15) / 16 * 16;
  uintptr_t start = reinterpret_cast<uintptr_t>(arena) + __atomic_fetch_add(&used, room, __ATOMIC_RELAXED);
  start = (start + sizeof(Head) + alignment - 1) / alignment * alignment;
  LAW(start + size < reinterpret_cast<uintptr_t>(arena) + kArena, "the program's arena is full");
  Head* head = reinterpret_cast<Head*>(start) - 1;
  head->size = size;
  head->mark = kMark;
  return head + 1;
}

void give(void* block) {
  if (block == nullptr) return;
  head_of(block)->mark = 0;
  __atomic_add_fetch(&freed, 1, __ATOMIC_RELAXED);
}
}  // namespace

extern "C" {
void* malloc(size_t size) { return take(size, 16); }
void free(void* block) { give(block); }
void* calloc(size_t count, size_t size) { return memset(take(count * size, 16), 0, count * size); }
void* realloc(void* block, size_t size) {
  void* made = take(size, 16);
  if (block != nullptr) {
    memcpy(made, block, head_of(block)->size < size ? head_of(block)->size : size);
    give(block);
  }
  return made;
}
void* memalign(size_t alignment, size_t size) { return take(size, alignment); }
void* aligned_alloc(size_t alignment, size_t size) { return take(size, alignment); }
int posix_memalign(void** out, size_t alignment, size_t size) { return *out = take(size, alignment), 0; }
void* valloc(size_t size) { return take(size, 4096); }
void* pvalloc(size_t size) { return take(size, 4096); }
size_t malloc_usable_size(void* block) { return block != nullptr ? head_of(block)->size : 0; }
}
void* operator new(size_t size) { return take(size, 16); }
void* operator new[](size_t size) { return take(size, 16); }
void operator delete(void* block) noexcept { give(block); }
void operator delete[](void* block) noexcept { give(block); }
void operator delete(void* block, size_t) noexcept { give(block); }
void operator delete[](void* block, size_t) noexcept { give(block); }

static void use_libc() {
  char *line = nullptr, *text = nullptr;
  size_t room = 0;
  FILE* file = fopen("/etc/passwd", "r");
  while (file != nullptr && getline(&line, &room, file) > 0) free(strdup(line));
  free(line);
  if (file != nullptr) fclose(file);
  LAW(asprintf(&text, "%0500d", 7) == 500, "asprintf");
  free(realloc(text, 5000));
  free(realpath("/usr/bin", nullptr));
  dirent** names;
  int count = scandir("/etc", &names, nullptr, alphasort);
  for (int i = 0; i < count; i++) free(names[i]);
  if (count >= 0) free(names);
  addrinfo* found = nullptr;
  if (getaddrinfo("127.0.0.1", "80", nullptr, &found) == 0) freeaddrinfo(found);
}

static void use_runtime() {
  std::map<std::string, std::vector<int>> map;
  for (int i = 0; i < 2000; i++) map["a key that is long enough " + std::to_string(i % 300)].push_back(i);
  std::ostringstream out;
  for (auto& [key, values] : map) out << key << values.size();
  LAW(out.str().size() > 5000, "a stream of %zu bytes", out.str().size());
  // Its buffer comes from a form of new that the program has not replaced, and goes by one that it has.
  std::vector<int> numbers(20000);
  for (size_t i = 0; i < numbers.size(); i++) numbers[i] = static_cast<int>(i * 7919 % 10007);
  std::stable_sort(numbers.begin(), numbers.end());
  LAW(numbers.front() == 0 && numbers.back() == 10006, "sorted");
  try {
    throw std::string("thrown");
  } catch (std::string& text) {
    LAW(text == "thrown", "%s", text.c_str());
  }
}

int main(int argc, char** argv) {
  LAW(argc == 2, "usage");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([] {
      for (int k = 0; k < 5; k++) use_libc(), use_runtime();
    });
  }
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    if (child == 0) {
      use_runtime();
      _exit(0);
    }
    int status = -1;
    LAW(waitpid(child, &status, 0) == child && status == 0, "a child ended with %#x", status);
  }
  for (std::thread& each : threads) each.join();
  for (int flags : {RTLD_NOW, RTLD_NOW | RTLD_DEEPBIND}) {
    void* library = dlopen(argv[1], flags);
    LAW(library != nullptr, "%s", dlerror());
    dlclose(library);
  }
  LAW(calls > 50000 && freed > calls / 2, "%ld calls, %ld frees", calls, freed);
  return 0;
}
