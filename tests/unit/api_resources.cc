// <poolalloc.hpp> in a C++17 program: pools and heaps as objects, as memory resources and as allocators.
//
// Always holds: exits 0, or says on stderr which line's law is violated and exits 1. With an argument it only shows
// that it compiles and links.
#include <poolalloc.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory_resource>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

// The names without a prefix are the program's.
static int pool_init = 1;
static int pool_free(int x) { return x - 1; }
struct Pool {
  int depth;
};

#define LAW(condition)                                                     \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (0)

template <typename Body>
static bool throws(Body body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
    return true;
  }
  return false;
}

static bool is_aligned(const void* p, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(p) % alignment == 0;
}

// Compilers know that no block is so large, and say so.
static std::size_t too_large(std::size_t less) {
  volatile std::size_t size = SIZE_MAX;
  return size - less;
}

static void pools() {
  poolalloc::pool pool(100);
  LAW(pool.stats().taken_bytes == 0);
  std::pmr::vector<std::pmr::string> texts(&pool);
  for (int i = 0; i < 1000; i++)
    texts.emplace_back("a text that is too long for a small string, number " + std::to_string(i));
  for (int i = 0; i < 1000; i++) LAW(texts[std::size_t(i)].find("number " + std::to_string(i)) != std::string::npos);
  const std::size_t used = pool.stats().used_bytes;
  LAW(used >= 50000 && pool.stats().taken_bytes >= used);
  {
    poolalloc::pool::scope scope(pool);
    for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2) {
      void* block = pool.allocate(alignment * 3, alignment);
      LAW(is_aligned(block, alignment));
      std::memset(block, 0xff, alignment * 3);
    }
    LAW(pool.stats().used_bytes > used);
  }
  LAW(pool.stats().used_bytes == used);
  LAW(pool.allocate(0) != pool.allocate(0));
  LAW(throws([&] { (void)pool.allocate(too_large(0)); }) && throws([&] { (void)pool.allocate(too_large(5), 64); }));
  pool.limit(1);
  LAW(throws([&] { (void)pool.allocate(10 << 20); }));
  LAW(poolalloc_pool_strdup(pool.chain(), "") != nullptr);
  texts.clear();
  texts = std::pmr::vector<std::pmr::string>(&pool);
  pool.reset();
  LAW(pool.stats().used_bytes == 0 && pool.stats().taken_bytes != 0);
  pool.release();
  LAW(pool.stats().taken_bytes == 0);
}

static void heaps() {
  poolalloc::heap heap("requests", 64 << 20), other;
  LAW(heap.name() == "requests" && other.name().empty() && heap.stats().limit_bytes == 64 << 20);
  {
    std::map<int, std::string, std::less<int>, poolalloc::allocator<std::pair<const int, std::string>>> map(heap);
    for (int i = 0; i < 1000; i++) map[i] = "x";
    LAW(heap.stats().live_blocks == 1000);
    std::vector<int, poolalloc::allocator<int>> of_malloc(100), of_heap(100, 0, heap);
    LAW(poolalloc_heap_of(of_malloc.data()) == nullptr && poolalloc_heap_of(of_heap.data()) == heap.get());
    LAW(of_malloc.get_allocator() != of_heap.get_allocator());
    struct alignas(64) Line {
      char bytes[64];
    };
    std::vector<Line, poolalloc::allocator<Line>> lines(10, heap), more(10);
    LAW(is_aligned(lines.data(), 64) && is_aligned(more.data(), 64));
  }
  LAW(heap.stats().live_blocks == 0);
  std::pmr::vector<char> bytes(5000, 'x', &heap);
  std::thread([&] {
    // In one thread, gone in another.
    auto* large = new std::pmr::vector<char>(1 << 20, 'y', &heap);
    LAW(heap.stats().live_blocks == 2);
    std::thread([=] { delete large; }).join();
  }).join();
  LAW(heap.stats().live_blocks == 1 && heap.stats().live_bytes >= 5000);
  {
    poolalloc::heap::scope scope(other);
    std::string text(1000, 'z');
    char* made = new char[100];
    void* large = std::malloc(300000);
    LAW(other.stats().live_blocks == 3 && poolalloc_heap_of(made) == other.get());
    large = std::realloc(large, 600000);
    LAW(large != nullptr && poolalloc_heap_of(large) == other.get());
    LAW(poolalloc_heap_of(bytes.data()) == heap.get());
  }
  LAW(other.stats().live_blocks == 2);
  struct Seen {
    std::size_t blocks, bytes;
  } seen{0, 0};
  auto visit = [](void* block, std::size_t size, void* context) {
    static_cast<Seen*>(context)->blocks++;
    static_cast<Seen*>(context)->bytes += size;
    return static_cast<int>(block != nullptr);
  };
  LAW(poolalloc_heap_visit(other.get(), visit, &seen) == 1 && seen.blocks == 2 && seen.bytes >= 600100);
  other.release();
  LAW(other.stats().live_bytes == 0 && other.stats().peak_bytes >= 600100);
  LAW(throws([&] { (void)heap.allocate(65 << 20); }) && throws([&] { (void)heap.allocate(too_large(100), 4096); }));
  LAW(is_aligned(heap.allocate(10, 1 << 18), 1 << 18));
  LAW(!heap.is_equal(other) && heap.is_equal(heap));
}

// What is thrown out of a scope, and its text, is there as long as it is handled.
static void exceptions() {
  for (int i = 0; i < 3; i++) {
    try {
      poolalloc::heap heap("request", 1 << 20);
      poolalloc::heap::scope scope(heap);
      if (i == 2) {
        char* volatile too_much = new char[2 << 20];
        (void)too_much;
      }
      throw std::runtime_error("a text that is longer than what a string has in itself, number " + std::to_string(i));
    } catch (const std::exception& thrown) {
      std::vector<std::string> others(1000, "something else that may be put where the text was, if it were gone");
      LAW(i == 2 || std::string(thrown.what()).find("number " + std::to_string(i)) != std::string::npos);
      LAW(i != 2 || dynamic_cast<const std::bad_alloc*>(&thrown) != nullptr);
    }
  }
}

// A server: a heap for each request, whose blocks nobody frees.
static void requests() {
  auto serve = [](int count) {
    for (int i = 0; i < count; i++) {
      poolalloc::heap request;
      poolalloc::heap::scope scope(request);
      for (std::size_t size = 1; size < 200000; size = size * 3 / 2 + 1) std::memset(new char[size], 1, size);
    }
  };
  std::thread first(serve, 200), second(serve, 200);
  first.join();
  second.join();
  poolalloc_stats stats{};
  poolalloc_stats_get(&stats, sizeof stats);
  LAW(stats.live_bytes < 10 << 20);
}

int main(int argc, char**) {
  if (argc > 1) return 0;
  LAW(pool_init == 1 && pool_free(1) == 0 && Pool{3}.depth == 3);
  pools();
  heaps();
  exceptions();
  requests();
  return 0;
}
