// What the unit tests share: random numbers, patterns in blocks, and threads that run in turn.
//
// Always holds: everything is reproducible from the seed that a test names; a pattern depends on the
// block's address and on the writer's stamp, so a block handed out twice shows.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#define POOLALLOC_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define POOLALLOC_TSAN 1
#endif
#endif
#ifndef POOLALLOC_TSAN
#define POOLALLOC_TSAN 0
#endif

namespace poolalloc::test {

// ThreadSanitizer does not see the last round of a thread's destructors, and allows no thread in the
// child of a process with several.
inline constexpr bool kThreadSanitizer = POOLALLOC_TSAN;

// splitmix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }
  // Log-distributed: every power of two up to `most` is as likely as any other.
  size_t size_up_to(size_t most) {
    unsigned bits = unsigned(below(65 - unsigned(__builtin_clzll(most | 1))));
    size_t size = bits == 0 ? 0 : size_t(next()) >> (64 - bits);
    return size <= most ? size : most;
  }

 private:
  uint64_t state_;
};

inline unsigned char pattern_byte(const void* p, uint64_t stamp) {
  uint64_t x = (reinterpret_cast<uintptr_t>(p) ^ stamp) * 0x9e3779b97f4a7c15u;
  return static_cast<unsigned char>(x >> 56) | 1;
}
inline void pattern_fill(void* p, size_t size, uint64_t stamp) { memset(p, pattern_byte(p, stamp), size); }
inline bool bytes_all(const void* p, size_t size, unsigned char value) {
  const unsigned char* bytes = static_cast<const unsigned char*>(p);
  return size == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0);
}
inline bool pattern_holds(const void* p, size_t size, uint64_t stamp) {
  return bytes_all(p, size, pattern_byte(p, stamp));
}

// What a child of `body` ended with: its result, at most 255, or -signal.
template <typename Body>
int in_child(Body body) {
  pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(body());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -1000;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// Runs `body` in a thread of its own and waits for its end.
inline void in_thread(const std::function<void()>& body) { std::thread(body).join(); }

// Runs `body(i)` in `count` threads at the same time and waits for all of them.
inline void in_threads(unsigned count, const std::function<void(unsigned)>& body) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; i++) threads.emplace_back(body, i);
  for (std::thread& each : threads) each.join();
}

}  // namespace poolalloc::test
