// Stands for single operations: malloc and free in the patterns that programs are made of, on Google Benchmark.
//
// Always holds: a block is written to before it is freed; sizes are in bytes and part of a benchmark's name;
// with several threads the time is wall time of all, per operation of one.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace {

constexpr size_t kBatch = 1000;

char* made(size_t size) {
  char* block = static_cast<char*>(malloc(size));
  if (block == nullptr) abort();
  *block = 1;
  benchmark::DoNotOptimize(block);
  return block;
}

void pair(benchmark::State& state) {
  size_t size = static_cast<size_t>(state.range(0));
  for (auto _ : state) free(made(size));
}
BENCHMARK(pair)->Arg(16)->Arg(64)->Arg(256)->Arg(1024)->Arg(8192)->Arg(65536)->Arg(1 << 20);
BENCHMARK(pair)->Name("pair_threads")->Arg(64)->ThreadRange(1, 8)->UseRealTime();

enum Order { kInOrder, kReversed, kRandom };

// Allocates a batch and frees it in an order; the figure is for the whole batch of 1000.
void batch(benchmark::State& state, Order order) {
  size_t size = static_cast<size_t>(state.range(0));
  std::vector<size_t> turns(kBatch);
  std::iota(turns.begin(), turns.end(), size_t{0});
  if (order == kReversed) std::reverse(turns.begin(), turns.end());
  if (order == kRandom) std::shuffle(turns.begin(), turns.end(), std::mt19937(1));
  std::vector<char*> blocks(kBatch);
  for (auto _ : state) {
    for (char*& block : blocks) block = made(size);
    for (size_t turn : turns) free(blocks[turn]);
  }
}
BENCHMARK_CAPTURE(batch, in_order, kInOrder)->Arg(32)->Arg(512)->Arg(4096);
BENCHMARK_CAPTURE(batch, reversed, kReversed)->Arg(32)->Arg(512)->Arg(4096);
BENCHMARK_CAPTURE(batch, random, kRandom)->Arg(32)->Arg(512)->Arg(4096);

void zeroed(benchmark::State& state) {
  size_t size = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    char* block = static_cast<char*>(calloc(1, size));
    if (block == nullptr || block[size - 1] != 0) abort();
    block[0] = block[size - 1] = 1;
    benchmark::DoNotOptimize(block);
    free(block);
  }
}
BENCHMARK(zeroed)->Name("calloc")->Arg(64)->Arg(1024)->Arg(65536)->Arg(1 << 20);

// Doubles a block from 16 bytes to the size given.
void growth(benchmark::State& state) {
  size_t limit = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    char* block = made(16);
    for (size_t size = 32; size <= limit; size *= 2) {
      block = static_cast<char*>(realloc(block, size));
      if (block == nullptr) abort();
      block[size - 1] = 1;
    }
    benchmark::DoNotOptimize(block);
    free(block);
  }
}
BENCHMARK(growth)->Name("realloc_growth")->Arg(1024)->Arg(65536)->Arg(4 << 20);

void aligned(benchmark::State& state) {
  size_t alignment = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    char* block = static_cast<char*>(aligned_alloc(alignment, 2 * alignment));
    if (block == nullptr) abort();
    *block = 1;
    benchmark::DoNotOptimize(block);
    free(block);
  }
}
BENCHMARK(aligned)->Name("aligned_alloc")->Arg(64)->Arg(256)->Arg(4096);

// One thread allocates batches, another frees them; the figure is for one batch of 1000.
void cross_thread(benchmark::State& state) {
  size_t size = static_cast<size_t>(state.range(0));
  constexpr int kSlots = 4;
  static std::vector<char*> slots[kSlots];
  std::atomic<long> written{0}, freed{0};
  std::atomic<bool> done{false};
  for (auto& slot : slots) slot.assign(kBatch, nullptr);
  std::thread consumer([&] {
    for (long at = 0;; at++) {
      while (written.load(std::memory_order_acquire) == at) {
        if (done.load(std::memory_order_acquire) && written.load(std::memory_order_acquire) == at) return;
        std::this_thread::yield();
      }
      for (char* block : slots[at % kSlots]) free(block);
      freed.store(at + 1, std::memory_order_release);
    }
  });
  long at = 0;
  for (auto _ : state) {
    while (at - freed.load(std::memory_order_acquire) >= kSlots) std::this_thread::yield();
    for (char*& block : slots[at % kSlots]) block = made(size);
    written.store(++at, std::memory_order_release);
  }
  done.store(true, std::memory_order_release);
  consumer.join();
}
BENCHMARK(cross_thread)->Name("cross_thread_free")->Arg(64)->Arg(512)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
