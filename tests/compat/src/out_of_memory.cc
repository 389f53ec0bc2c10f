// C++ code that asks for more than there is: as a program, or as a library (PLUGIN), whose C++ runtime may be its own.
// Always: every throwing form of operator new ends in std::bad_alloc of the runtime that this code catches with, and
// calls the handler that was set there; no other form throws.
#include <new>
#include <string>
#include <vector>

#include "check.h"

static int handled;
static void give_up() {
  if (++handled % 3 == 0) std::set_new_handler(nullptr);
}
struct Stop {};
static void throws() { throw Stop(); }

template <typename Exception, typename Call>
static bool fails(Call call) {
  try {
    call();
  } catch (const Exception&) {
    return true;
  }
  return false;
}

extern "C" int out_of_memory(void) {
  const size_t most = opaque_n(SIZE_MAX / 4);
  using Align = std::align_val_t;
  LAW(fails<std::bad_alloc>([=] { ::operator delete(::operator new(most)); }), "new");
  LAW(fails<std::bad_alloc>([=] { ::operator delete[](::operator new[](most)); }), "new[]");
  LAW(fails<std::bad_alloc>([=] { ::operator delete(::operator new(most, Align(256)), Align(256)); }), "aligned new");
  LAW(fails<std::bad_alloc>([=] { ::operator delete[](::operator new[](most, Align(64)), Align(64)); }),
      "aligned new[]");
  LAW(::operator new(most, std::nothrow) == nullptr&& ::operator new[](most, std::nothrow) == nullptr, "nothrow");
  LAW(::operator new(most, Align(64), std::nothrow) == nullptr, "aligned nothrow");
  LAW(fails<std::bad_alloc>([=] { std::vector<char>().reserve(most); }), "vector");
  for (int i = 1; i <= 4; i++) {
    std::set_new_handler(give_up);
    if (i % 2 != 0)
      LAW(fails<std::bad_alloc>([=] { ::operator delete(::operator new(most)); }), "new with a handler");
    else
      LAW(::operator new[](most, std::nothrow) == nullptr, "nothrow with a handler");
    LAW(handled == 3 * i, "the handler was called %d times", handled);
  }
  std::set_new_handler(throws);
  LAW(fails<Stop>([=] { ::operator delete(::operator new(most)); }), "a handler that throws");
  LAW(::operator new(most, std::nothrow) == nullptr, "a handler that throws, nothrow");
  std::set_new_handler(nullptr);
  delete new std::string(1000, 'x');
  return 0;
}

#ifndef PLUGIN
int main() { return out_of_memory(); }
#endif
