// Stands for C++ programs and data frames: thousands of std::vectors and std::strings that grow side by side.
//
// Every vector and string is appended to in turn, so that each reallocation finds the others in its way;
// then all of them are dropped, and the next round begins.
#include <string>
#include <vector>

#include "common.h"

namespace {

constexpr int kVectors = 3000, kRounds = 16, kTurns = 60;

uint64_t grow_and_drop(uint64_t* random) {
  std::vector<std::vector<uint32_t>> numbers(kVectors);
  std::vector<std::vector<std::string>> texts(kVectors / 10);
  for (int turn = 0; turn < kTurns; turn++) {
    for (auto& vector : numbers) {
      uint64_t more = 1 + random_next(random) % 24;
      for (uint64_t i = 0; i < more; i++) vector.push_back(static_cast<uint32_t>(turn));
    }
    for (auto& vector : texts) {
      vector.emplace_back("text ");
      for (int i = 0; i < 4; i++) vector.back() += std::to_string(*random);
      vector[random_next(random) % vector.size()] += "and some more text that does not fit in place";
    }
  }
  uint64_t sum = 0;
  for (auto& vector : numbers) {
    if (vector.front() != 0 || vector.back() != kTurns - 1) fail("a vector's content changed");
    sum += vector.size();
  }
  for (auto& vector : texts) {
    for (auto& text : vector) {
      if (text.compare(0, 5, "text ") != 0) fail("a string's content changed");
      sum += text.size();
    }
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  long rounds = share(kRounds, argument(argc, argv, 1, 100));
  uint64_t random = 2463534242, sum = 0;
  for (long i = 0; i < rounds; i++) sum += grow_and_drop(&random);
  report_checksum(sum);
  return 0;
}
