// What stands at an address, and where a call came from (place.h), on Linux.
//
// Always holds: the kernel's list of mappings is read anew, through a buffer on the stack; loaded objects are found by
// dl_iterate_phdr, whose lock is held by nobody for long. What cannot be found out is unknown.
// Who may use it: through place.h only.
#include "os/place.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
#include <unwind.h>

#include "base/bits.h"
#include "os/libc.h"
#include "os/mapped.h"
#include "os/message.h"
#include "os/os.h"
#include "os/system_call.h"

extern "C" int poolalloc_find_object(void* address, dl_find_object* found);

// Where this library begins and ends in memory: the linker's symbols.
extern "C" {
__attribute__((visibility("hidden"))) extern const char __ehdr_start[];
__attribute__((visibility("hidden"))) extern const char _end[];
}

namespace poolalloc {
namespace {

// --- Mappings ---------------------------------------------------------------------------------------------

// The lines of /proc/self/maps, one after the other.
class Mappings {
 public:
  Mappings() : file_(system_call(SYS_openat, AT_FDCWD, long(address_of("/proc/self/maps")), O_RDONLY | O_CLOEXEC)) {}
  ~Mappings() {
    if (file_ >= 0) system_call(SYS_close, file_);
  }
  Mappings(const Mappings&) = delete;
  Mappings& operator=(const Mappings&) = delete;

  // False: there are no more, or none can be read. Its name is overwritten by the next one.
  bool next(Mapping& mapping) {
    mapping = Mapping{number(), number(), 0, false, false, false, name_};
    mapping.is_readable = get() == 'r';
    mapping.is_writable = get() == 'w';
    mapping.is_executable = get() == 'x';
    get();  // whether it is shared
    get();
    mapping.offset = number();
    number(), number(), number();  // device and inode
    size_t length = 0;
    for (char c = last_; c != '\n'; c = get()) {
      if (c == 0) return false;
      if ((length != 0 || c != ' ') && length < sizeof name_ - 1) name_[length++] = c;
    }
    name_[length] = 0;
    return mapping.end != 0;
  }
  // Whether all of them have been read.
  bool is_complete() const { return file_ >= 0 && length_ == 0; }

 private:
  // A number with the character behind it.
  uintptr_t number() {
    uintptr_t value = 0;
    for (;;) {
      char c = get();
      if (c >= '0' && c <= '9') {
        value = value * 16 + uintptr_t(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        value = value * 16 + uintptr_t(c - 'a' + 10);
      } else {
        return value;
      }
    }
  }
  char get() {
    if (at_ == length_) {
      at_ = 0;
      length_ = file_ >= 0 ? system_call(SYS_read, file_, long(address_of(text_)), sizeof text_) : 0;
      if (length_ <= 0) return last_ = 0;
    }
    return last_ = text_[at_++];
  }

  long file_;
  long at_ = 0;
  long length_ = 0;
  char last_ = 0;
  char name_[1024];
  char text_[2048];
};

bool mapping_has(const Mapping& mapping, uintptr_t address) {
  return address >= mapping.start && address < mapping.end;
}

// The mapping that was last found to be somebody else's: a program that frees one such pointer often frees many.
// Synchronization: hints; if they do not belong together, an address counts as unknown.
PA_NOTE constinit Atomic<uintptr_t> known_start{0};
PA_NOTE constinit Atomic<uintptr_t> known_end{0};

// --- Loaded objects ---------------------------------------------------------------------------------------

struct Object {
  uintptr_t address;         // what is looked for
  const char* name;          // nullptr: not found; empty: the program
  uintptr_t bias;            // what was added to the file's addresses
  uintptr_t start, end;      // of the part around the address
  const void* unwind_table;  // nullptr: it has none
};

int object_look(dl_phdr_info* info, size_t, void* wanted) {
  Object& object = *static_cast<Object*>(wanted);
  bool is_here = false;
  const void* unwind_table = nullptr;
  for (unsigned i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    uintptr_t start = info->dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_GNU_EH_FRAME) unwind_table = pointer_to<void>(start);
    if (part.p_type != PT_LOAD || object.address - start >= part.p_memsz) continue;
    is_here = true;
    object.start = start;
    object.end = start + part.p_memsz;
  }
  if (!is_here) return 0;
  object.name = info->dlpi_name;
  object.bias = info->dlpi_addr;
  object.unwind_table = unwind_table;
  return 1;
}

// Not found in the child of a fork: another thread may have had ld.so's lock.
Object object_around(uintptr_t address) {
  Object object{address, nullptr, 0, 0, 0, nullptr};
  if (os_is_first_process()) dl_iterate_phdr(object_look, &object);
  return object;
}

// --- The stack --------------------------------------------------------------------------------------------

#if defined(__x86_64__)
constexpr int kFrameRegister = 6;
#else
constexpr int kFrameRegister = 29;
#endif

// Whether this code is in a library, not in the program itself: then its functions are in no trace.
bool library_is_apart() {
  static constinit Atomic<int> known{0};  // 1: it is, 2: it is not
  if (known.load_relaxed() == 0) {
    const Object own = object_around(address_of(__ehdr_start));
    known.store_relaxed(own.name != nullptr && *own.name != 0 ? 1 : 2);
  }
  return known.load_relaxed() == 1;
}

// What of a path fits into a message.
const char* end_of(const char* path) {
  constexpr size_t kMost = 320;
  const size_t length = strlen(path);
  return length > kMost ? path + length - kMost : path;
}

// A trace on its way.
struct Walk {
  uintptr_t* frames;
  unsigned most;
  uintptr_t from;  // where it begins, 0: at once
  unsigned count = 0;
  uintptr_t frame = 0;  // the frame register in the last one
  bool is_done = false;

  // Whether there may be more.
  bool add(uintptr_t pc) {
    const bool is_ours = library_is_apart() && os_is_own_place(pointer_to<void>(pc));
    if (pc == from) from = 0;
    if (from != 0 || is_ours) return true;
    is_done = pc == 0 || count == most;
    if (is_done) return false;
    frames[count++] = pc;
    return true;
  }
};

_Unwind_Reason_Code walk_step(_Unwind_Context* context, void* walk) {
  Walk& to = *static_cast<Walk*>(walk);
  to.frame = uintptr_t(_Unwind_GetGR(context, kFrameRegister));
  return to.add(uintptr_t(_Unwind_GetIP(context))) ? _URC_NO_REASON : _URC_END_OF_STACK;
}

// Whether a frame, two words, may be there.
bool is_frame(uintptr_t frame) {
  if (frame == 0 || frame % alignof(void*) != 0) return false;
  return os_word_look(pointer_to<void>(frame)) != WordState::unreadable &&
         os_word_look(pointer_to<void>(frame + sizeof(void*))) != WordState::unreadable;
}

}  // namespace

bool os_mappings_visit(bool (*visit)(void* context, const Mapping& mapping), void* context) {
  Mapped<Mappings> mappings;
  if (!mappings) return false;
  for (Mapping mapping; mappings->next(mapping);) {
    if (!visit(context, mapping)) return false;
  }
  return mappings->is_complete();
}

bool os_library_is_apart() { return library_is_apart(); }

bool os_is_own_place(const void* p) { return p >= __ehdr_start && p < _end; }

Definer os_definer_of(const void* function) {
  Dl_info info, program;
  ElfW(Sym)* symbol = nullptr;
  if (dladdr1(function, &info, reinterpret_cast<void**>(&symbol), RTLD_DL_SYMENT) == 0) return {};
  if (symbol != nullptr && symbol->st_shndx == SHN_UNDEF) return {};
  const bool is_program =
      dladdr(pointer_to<void>(getauxval(AT_ENTRY)), &program) != 0 && program.dli_fbase == info.dli_fbase;
  return {true, is_program, info.dli_fname};
}

Place os_place_of(const void* p) {
  const uintptr_t address = address_of(p);
  const Object object = object_around(address);
  if (object.name != nullptr) {
    const uintptr_t linker = getauxval(AT_BASE);
    return linker != 0 && object.bias == linker ? Place::unknown : Place::program;
  }
  if (address >= known_start.load_relaxed() && address < known_end.load_relaxed()) return Place::unknown;
  const uintptr_t here = address_of(__builtin_frame_address(0));
  Mappings mappings;
  for (Mapping mapping; mappings.next(mapping);) {
    if (!mapping_has(mapping, address)) continue;
    // The first thread's.
    if (strcmp(mapping.name, "[stack]") == 0) return Place::stack;
    // libc's record of a thread stands at the top of its stack; what is above that may be another mapping.
    uintptr_t top = address_of(pointer_to<void>(pthread_self()));
    if (mapping_has(mapping, here) && mapping_has(mapping, top) && address >= here && address < top)
      return Place::stack;
    known_start.store_relaxed(mapping.start);
    known_end.store_relaxed(mapping.end);
    return Place::unknown;
  }
  return mappings.is_complete() ? Place::unmapped : Place::unknown;
}

namespace {
// ld.so's function, which takes no lock; nullptr: not known. Synchronization: atomic; whoever writes writes the same.
using FindObject = int (*)(void* address, dl_find_object* found);
constinit Atomic<FindObject> find_object{nullptr};

// A static program, which has no ld.so, has an unwinder of its own, too.
bool is_static() { return getauxval(AT_BASE) == 0; }
}  // namespace

void os_stack_start() {
  if (!is_static()) find_object.store_relaxed(reinterpret_cast<FindObject>(dlsym(RTLD_DEFAULT, "_dl_find_object")));
}

void os_stack_take(StackTrace& trace, uintptr_t from) {
  trace.count = os_stack_take(trace.frames, StackTrace::kMost, from);
}

unsigned os_stack_take(uintptr_t* frames, unsigned most, uintptr_t from) {
  Walk walk{frames, most, from};
  // The unwinder gives up the program where it does not find this very code, as in the child of a fork (object_around).
  dl_find_object own;
  if (is_static() || poolalloc_find_object(reinterpret_cast<void*>(&walk_step), &own) == 0) {
    _Unwind_Backtrace(walk_step, &walk);
  } else {
    walk.frame = address_of(__builtin_frame_address(0));
  }
  // Where there are no tables the last function's frame leads on.
  for (uintptr_t frame = walk.frame; !walk.is_done && is_frame(frame);) {
    const uintptr_t* words = pointer_to<const uintptr_t>(frame);
    if (!walk.add(words[1]) || words[0] <= frame) break;
    frame = words[0];
  }
  if (walk.count == 0 && from != 0) frames[walk.count++] = from;
  return walk.count;
}

void os_stack_print(const StackTrace& trace) {
  for (unsigned i = 0; i < trace.count; i++) {
    const uintptr_t pc = trace.frames[i];
    // A call's return address may belong to what follows.
    const Object object = object_around(pc - 1);
    // No more than fits into a line: this may run on a small stack.
    char path[320];
    const char* name = object.name;
    if (name != nullptr && *name == 0) {
      long length = system_call(SYS_readlinkat, AT_FDCWD, long(address_of("/proc/self/exe")), long(address_of(path)),
                                sizeof path - 1);
      path[length > 0 ? length : 0] = 0;
      name = path;
    }
    Message message;
    message.text("  #").number(i).text(" ");
    if (name != nullptr) message.text(end_of(name)).text("+");
    message.address(pointer_to<void>(pc - object.bias)).send();
  }
}

void os_print_stack() {
  StackTrace trace;
  os_stack_take(trace, 0);
  os_stack_print(trace);
}

}  // namespace poolalloc

// For the unwinder, which is linked into the shared library, instead of ld.so's function of newer libcs
// (_dl_find_object): so the library needs libc alone.
extern "C" int poolalloc_find_object(void* address, dl_find_object* found) {
  if (auto find = poolalloc::find_object.load_relaxed()) return find(address, found);
  poolalloc::Object object = poolalloc::object_around(poolalloc::address_of(address));
  if (object.unwind_table == nullptr) return -1;
  *found = dl_find_object{};
  found->dlfo_map_start = poolalloc::pointer_to<void>(object.start);
  found->dlfo_map_end = poolalloc::pointer_to<void>(object.end);
  found->dlfo_eh_frame = const_cast<void*>(object.unwind_table);
  return 0;
}
