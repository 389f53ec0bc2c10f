// An array that grows, of memory from the kernel: for what is put together once and thrown away.
//
// Always holds: `items` are `count` whole ones; without memory it stays as it is and says so for ever (is_whole).
// Not thread-safe. Who may use it: inspect and api.
#pragma once

#include <string.h>

#include "base/bits.h"
#include "os/os.h"

namespace poolalloc {

template <typename T>
struct Growing {
  T* items = nullptr;
  size_t count = 0;
  size_t capacity = 0;
  bool is_whole = true;

  Growing() = default;
  ~Growing() {
    if (items != nullptr) os_discard(items, size_);
  }
  Growing(const Growing&) = delete;
  Growing& operator=(const Growing&) = delete;

  void add(const T* more, size_t more_count) {
    if (more_count > capacity - count && !grow(count + more_count)) {
      is_whole = false;
      return;
    }
    memcpy(static_cast<void*>(items + count), more, more_count * sizeof(T));
    count += more_count;
  }
  void add(const T& one) { add(&one, 1); }
  // Bytes of memory that it has.
  size_t mapped_size() const { return size_; }

 private:
  bool grow(size_t least) {
    constexpr size_t kLeast = size_t{256} << 10;
    size_t size = 2 * capacity * sizeof(T) > kLeast ? 2 * capacity * sizeof(T) : kLeast;
    if (size < least * sizeof(T)) size = least * sizeof(T);
    size = round_up(size, os_page_size());
    T* larger = static_cast<T*>(os_map(size, os_page_size()));
    if (larger == nullptr) return false;
    if (items != nullptr) {
      memcpy(static_cast<void*>(larger), items, count * sizeof(T));
      os_discard(items, size_);
    }
    items = larger;
    size_ = size;
    capacity = size / sizeof(T);
    return true;
  }

  size_t size_ = 0;  // bytes that are mapped
};

// How many items, from the first one on, something holds of; of those behind them it does not.
template <typename T, typename Holds>
size_t partition_point(const T* items, size_t count, Holds holds) {
  size_t from = 0, until = count;
  while (from < until) {
    const size_t middle = (from + until) / 2;
    (holds(items[middle]) ? from : until) = holds(items[middle]) ? middle + 1 : middle;
  }
  return from;
}

// Puts items in the order that `less` says, without memory of its own.
template <typename T, typename Less>
void heap_sort(T* items, size_t count, Less less) {
  auto sift = [&](size_t at, size_t end) {
    for (size_t child; (child = 2 * at + 1) < end; at = child) {
      if (child + 1 < end && less(items[child], items[child + 1])) child++;
      if (!less(items[at], items[child])) return;
      const T moved = items[at];
      items[at] = items[child];
      items[child] = moved;
    }
  };
  for (size_t at = count / 2; at-- > 0;) sift(at, count);
  for (size_t end = count; end-- > 1;) {
    const T last = items[end];
    items[end] = items[0];
    items[0] = last;
    sift(0, end);
  }
}

}  // namespace poolalloc
