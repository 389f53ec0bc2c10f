// An object in memory of its own from the kernel: for what is large, where the stack may be small.
//
// Always holds: the memory goes back with the object; without memory there is no object.
// Who may use it: the os layer and above.
#pragma once

#include "base/bits.h"
#include "os/os.h"

namespace poolalloc {
struct InPlace {};
}  // namespace poolalloc

inline void* operator new(size_t, poolalloc::InPlace, void* place) noexcept { return place; }

namespace poolalloc {

template <typename T>
class Mapped {
 public:
  template <typename... Arguments>
  explicit Mapped(Arguments&&... arguments) {
    void* memory = os_map(size(), os_page_size());
    if (memory != nullptr) object_ = new (InPlace{}, memory) T(static_cast<Arguments&&>(arguments)...);
  }
  ~Mapped() {
    if (object_ == nullptr) return;
    object_->~T();
    os_discard(object_, size());
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  explicit operator bool() const { return object_ != nullptr; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }

 private:
  static size_t size() { return round_up(sizeof(T), os_page_size()); }

  T* object_ = nullptr;
};

}  // namespace poolalloc
