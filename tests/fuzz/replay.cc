// Takes traces from files, each in a process of its own, without libFuzzer.
//
//   replay [--here] [--steps] [--calls] [--folder FOLDER] FILE|FOLDER...
//
// --here: one after the other in this process; --steps: what the traces do; --calls: how often each function was
// called; --folder: where files of the traces go, /tmp by default. Always holds: it exits 0 after one line on stdout,
// or 1 after lines on stderr that say which law was violated, and by which file. Who may use it: test_fuzz.py, and
// whoever repeats a crash.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entry.h"
#include "interpreter.h"

// Of the coverage build; there a child writes what it has covered.
extern "C" __attribute__((weak)) int __llvm_profile_write_file();

namespace {

bool is_here = false;
unsigned failures = 0;
unsigned files = 0;
bool prints_steps = false;

void child_end() {
  if (&__llvm_profile_write_file != nullptr) __llvm_profile_write_file();
}

void replay_file(const char* path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat about {};
  if (file < 0 || fstat(file, &about) != 0) {
    fprintf(stderr, "fuzz: %s cannot be read\n", path);
    exit(2);
  }
  files++;
  const size_t size = size_t(about.st_size);
  void* data = size != 0 ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0) : nullptr;
  close(file);
  const auto* bytes = static_cast<const uint8_t*>(data);
  if (prints_steps) fuzz::trace_print(bytes, size);
  if (is_here) {
    fuzz::trace_run(bytes, size);
  } else if (!fuzz::trace_run_in_child(bytes, size, child_end)) {
    fprintf(stderr, "fuzz: that was %s\n", path);
    failures++;
  }
  if (data != nullptr) munmap(data, size);
}

void replay(const char* path) {
  struct dirent** names = nullptr;
  const int count = scandir(
      path, &names, [](const dirent* each) { return int(each->d_name[0] != '.'); }, alphasort);
  if (count < 0) return replay_file(path);
  for (int i = 0; i < count; i++) {
    char inside[4096];
    snprintf(inside, sizeof inside, "%s/%s", path, names[i]->d_name);
    replay_file(inside);
    free(names[i]);
  }
  free(names);
}

void print_calls() {
  for (const fuzz::EntryName* each = fuzz::entry_names; each != nullptr; each = each->next)
    printf("%s %u\n", each->name, fuzz::calls[each->index].load());
}

}  // namespace

int main(int argc, char** argv) {
  const char* folder = "/tmp";
  bool wants_calls = false;
  int first = 1;
  for (; first < argc && argv[first][0] == '-'; first++) {
    is_here |= strcmp(argv[first], "--here") == 0;
    wants_calls |= strcmp(argv[first], "--calls") == 0;
    prints_steps |= strcmp(argv[first], "--steps") == 0;
    if (strcmp(argv[first], "--folder") == 0 && first + 1 < argc) folder = argv[++first];
  }
  if (first == argc) {
    fprintf(stderr, "usage: replay [--here] [--steps] [--calls] [--folder FOLDER] FILE|FOLDER...\n");
    return 2;
  }
  fuzz::process_begin(folder);
  for (int i = first; i < argc; i++) replay(argv[i]);
  if (wants_calls) print_calls();
  printf("fuzz: %u traces, %u violations\n", files, failures);
  return failures != 0;
}
