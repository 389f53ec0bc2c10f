// Stands for programs that name where containers allocate: the memory resources of poolalloc.hpp beside those of the
// standard library, on Google Benchmark.
//
// Always holds: every resource does the same work; a block is written to before it is freed; the figure is for a round:
// a thousand blocks, or a container of a thousand elements, made and gone.
#include <benchmark/benchmark.h>

#include <map>
#include <memory_resource>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <poolalloc.hpp>

namespace {

constexpr std::size_t kBlocks = 1000;

std::vector<std::size_t> sizes_up_to(std::size_t most) {
  std::mt19937 random(1);
  std::vector<std::size_t> sizes(kBlocks);
  for (std::size_t& size : sizes) size = 8 + random() % (most - 8);
  return sizes;
}

void write(void* block) {
  *static_cast<volatile char*>(block) = 1;
  benchmark::DoNotOptimize(block);
}

// What makes the blocks of a round go.
void release(std::pmr::monotonic_buffer_resource& resource) { resource.release(); }
void release(std::pmr::unsynchronized_pool_resource& resource) { resource.release(); }
void release(std::pmr::synchronized_pool_resource& resource) { resource.release(); }
void release(poolalloc::pool& resource) { resource.reset(); }
void release(poolalloc::heap& resource) { resource.release(); }

// Blocks that all go at once.
template <typename Resource>
void at_once(benchmark::State& state) {
  const std::vector<std::size_t> sizes = sizes_up_to(static_cast<std::size_t>(state.range(0)));
  Resource resource;
  std::pmr::memory_resource* used = &resource;
  for (auto _ : state) {
    for (std::size_t size : sizes) write(used->allocate(size));
    release(resource);
  }
}

// Blocks of which each is freed when another one takes its place.
template <typename Resource>
void one_by_one(benchmark::State& state) {
  const std::vector<std::size_t> sizes = sizes_up_to(static_cast<std::size_t>(state.range(0)));
  Resource resource;
  std::pmr::memory_resource* used = &resource;
  struct Block {
    void* p;
    std::size_t size;
  };
  std::vector<Block> live(128, Block{nullptr, 0});
  std::mt19937 random(2);
  for (auto _ : state) {
    for (std::size_t size : sizes) {
      Block& block = live[random() % live.size()];
      if (block.p != nullptr) used->deallocate(block.p, block.size);
      block = {used->allocate(size), size};
      write(block.p);
    }
  }
  for (const Block& block : live) {
    if (block.p != nullptr) used->deallocate(block.p, block.size);
  }
}

// A container with strings in it.
template <typename Resource>
void container(benchmark::State& state) {
  Resource resource;
  for (auto _ : state) {
    std::pmr::map<int, std::pmr::string> map(&resource);
    for (int i = 0; i < static_cast<int>(kBlocks); i++)
      map.emplace(i * 7919 % 10007, "a string that does not fit into a small one");
    benchmark::DoNotOptimize(map);
    map.clear();
    release(resource);
  }
}

// The same from two threads, in the same resource.
template <typename Resource>
void shared(benchmark::State& state) {
  static std::optional<Resource> resource;
  if (state.thread_index() == 0) resource.emplace();
  const std::vector<std::size_t> sizes = sizes_up_to(256);
  std::vector<void*> blocks(kBlocks);
  for (auto _ : state) {
    std::pmr::memory_resource* used = &*resource;
    for (std::size_t i = 0; i < kBlocks; i++) write(blocks[i] = used->allocate(sizes[i]));
    for (std::size_t i = 0; i < kBlocks; i++) used->deallocate(blocks[i], sizes[i]);
  }
  if (state.thread_index() == 0) resource.reset();
}

using monotonic = std::pmr::monotonic_buffer_resource;
using unsynchronized_pool = std::pmr::unsynchronized_pool_resource;
using synchronized_pool = std::pmr::synchronized_pool_resource;
using poolalloc::heap;
using poolalloc::pool;

BENCHMARK_TEMPLATE(at_once, monotonic)->Arg(64)->Arg(1024);
BENCHMARK_TEMPLATE(at_once, pool)->Arg(64)->Arg(1024);
BENCHMARK_TEMPLATE(at_once, unsynchronized_pool)->Arg(64)->Arg(1024);
BENCHMARK_TEMPLATE(at_once, synchronized_pool)->Arg(64)->Arg(1024);
BENCHMARK_TEMPLATE(at_once, heap)->Arg(64)->Arg(1024);
BENCHMARK_TEMPLATE(one_by_one, unsynchronized_pool)->Arg(64)->Arg(1024);
BENCHMARK_TEMPLATE(one_by_one, synchronized_pool)->Arg(64)->Arg(1024);
BENCHMARK_TEMPLATE(one_by_one, heap)->Arg(64)->Arg(1024);
BENCHMARK_TEMPLATE(container, monotonic);
BENCHMARK_TEMPLATE(container, pool);
BENCHMARK_TEMPLATE(container, unsynchronized_pool);
BENCHMARK_TEMPLATE(container, synchronized_pool);
BENCHMARK_TEMPLATE(container, heap);
BENCHMARK_TEMPLATE(shared, synchronized_pool)->Threads(2)->UseRealTime();
BENCHMARK_TEMPLATE(shared, heap)->Threads(2)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
