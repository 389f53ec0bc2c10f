// The clock of os.h, read from the page of code (vDSO) that the kernel maps into every process.
//
// Always holds: no libc function is called for the time, because other preloaded libraries replace
// those and may allocate; no system call is made where the kernel offers the page, because a sandbox
// may refuse it.
// Who may use it: through os.h only.
#include <elf.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#include "base/bits.h"
#include "os/os.h"
#include "os/system_call.h"

namespace poolalloc {
namespace {

using ClockFunction = int (*)(clockid_t, struct timespec*);

#if defined(__x86_64__)
constexpr char kClockName[] = "__vdso_clock_gettime";
#else
constexpr char kClockName[] = "__kernel_clock_gettime";
#endif

int clock_by_system_call(clockid_t clock, struct timespec* now) {
  return int(system_call(SYS_clock_gettime, clock, long(address_of(now))));
}

// What must be added to an address in the image to get one in memory; old kernels linked the image to
// run elsewhere.
uintptr_t load_bias(uintptr_t image, const Elf64_Ehdr* header) {
  const auto* segments = pointer_to<const Elf64_Phdr>(image + header->e_phoff);
  for (unsigned i = 0; i < header->e_phnum; i++) {
    if (segments[i].p_type == PT_LOAD) return image + segments[i].p_offset - segments[i].p_vaddr;
  }
  return image;
}

// The page is a small ELF image; its section headers lead to the dynamic symbols.
ClockFunction find_clock() {
  uintptr_t image = getauxval(AT_SYSINFO_EHDR);
  if (image == 0) return clock_by_system_call;
  const auto* header = pointer_to<const Elf64_Ehdr>(image);
  const auto* sections = pointer_to<const Elf64_Shdr>(image + header->e_shoff);
  for (unsigned s = 0; s < header->e_shnum; s++) {
    if (sections[s].sh_type != SHT_DYNSYM) continue;
    const auto* symbols = pointer_to<const Elf64_Sym>(image + sections[s].sh_offset);
    const char* names = pointer_to<const char>(image + sections[sections[s].sh_link].sh_offset);
    for (size_t i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); i++) {
      bool is_clock = symbols[i].st_shndx != SHN_UNDEF && strcmp(names + symbols[i].st_name, kClockName) == 0;
      if (is_clock) return reinterpret_cast<ClockFunction>(load_bias(image, header) + symbols[i].st_value);
    }
  }
  return clock_by_system_call;
}

constinit Atomic<ClockFunction> clock_function{nullptr};

}  // namespace

static uint64_t clock_ms(clockid_t clock) {
  ClockFunction function = clock_function.load_relaxed();
  if (function == nullptr) {
    function = find_clock();
    clock_function.store_relaxed(function);
  }
  struct timespec now {};
  function(clock, &now);
  return uint64_t(now.tv_sec) * 1000 + uint64_t(now.tv_nsec) / 1000000;
}

uint64_t os_clock_ms() { return clock_ms(CLOCK_MONOTONIC_COARSE); }

uint64_t os_wall_clock_ms() { return clock_ms(CLOCK_REALTIME_COARSE); }

}  // namespace poolalloc
