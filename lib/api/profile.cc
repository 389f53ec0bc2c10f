// The profile as programs, variables and tools get at it (profile.h).
//
// Who may use it: through profile.h and poolalloc.h.
#define POOLALLOC_NO_SHORT_NAMES
#include "api/profile.h"

#include <errno.h>
#include <string.h>

#include "api/export.h"
#include "api/malloc_api.h"
#include "api/path.h"
#include "api/poolalloc.h"
#include "api/start.h"
#include "base/policy.h"
#include "heap/evict.h"
#include "inspect/leaks.h"
#include "inspect/pprof.h"
#include "inspect/profile.h"
#include "os/mapped.h"
#include "os/message.h"

namespace poolalloc {

constinit ProfileRequest profile_request{sizeof(ProfileRequest), 0, 0, 0, ""};

namespace {

// Of the option. Synchronization: written before there are samples.
constinit char file_pattern[kFilePathMost]{};
constinit bool finds_lost = false;

// Whether somebody outside has begun the profile. Who forks is not the process that he knows.
constinit bool is_from_outside = false;

constexpr char kDefaultFile[] = "poolalloc-%p.pb.gz";

// 0, or an errno value.
int begin(uint64_t interval) {
  if (kHardened) return ENOTSUP;
  if (interval == 0 || interval > kRequestMax) return EINVAL;
  if (!profile_start(interval)) return ENOMEM;
  profile_request.is_on = true;
  return 0;
}

void end() {
  is_from_outside = false;
  profile_stop();
  profile_request.is_on = false;
}

// A file in the place of one that is there, or a new one.
int write_file(const char* path, bool is_new) {
  if (profile.interval == 0) return EINVAL;
  Growing<char> file;
  Mapped<Path> part;
  if (!part || !pprof_make(file)) return ENOMEM;
  if (is_new) return os_file_make(path, file.items, file.count) ? 0 : EIO;
  part->put_part(path);
  return part->is_whole && os_file_replace(path, part->text, file.items, file.count) ? 0 : EIO;
}

// Says once that it cannot be written.
void write_option_file() {
  static constinit Atomic<bool> is_said{false};
  Mapped<Path> path;
  if (!path) return;
  path->put_pattern(file_pattern);
  const int error = path->is_whole ? write_file(path->text, false) : ENAMETOOLONG;
  if (error == 0 || is_said.exchange_acquire(true)) return;
  Message message;
  message.text("the profile cannot be written to ").text(path->text);
  message.text(error == ENOMEM ? ": no memory" : error == EINVAL ? ": there is none" : "").send();
}

// By one thread at a time; what others have then will be in the next one.
constinit Atomic<bool> is_writing_high{false};
void write_high() {
  if (is_writing_high.exchange_acquire(true)) return;
  write_option_file();
  is_writing_high.store_release(false);
}

void serve() {
  ProfileRequest& request = profile_request;
  // The other side may have written anything.
  request.path[sizeof request.path - 1] = 0;
  int error = 0;
  if (request.interval == kProfileStop) {
    end();
  } else if (request.interval != 0) {
    error = begin(request.interval);
    if (error == 0) is_from_outside = true;
  }
  if (error == 0 && request.path[0] != 0) error = write_file(request.path, true);
  request.error = uint32_t(error);
}

}  // namespace

bool profile_option_set(uint64_t interval, bool wants_lost, const char* file) {
  if (file == nullptr || *file == 0) file = kDefaultFile;
  const size_t length = strlen(file);
  if (length >= sizeof file_pattern) return false;
  memcpy(file_pattern, file, length + 1);
  finds_lost = wants_lost;
  // The program may close its own, and have another file there when something is to be said.
  os_keep_stderr();
  profile_on_high.store_relaxed(write_high);
  if (begin(interval) != 0) return false;
  end_watch();
  return true;
}

void profile_option_clear() {
  end();
  profile_on_high.store_relaxed(nullptr);
  file_pattern[0] = 0;
}

bool profile_end_matters() { return file_pattern[0] != 0; }

void profile_finish() {
  profile_stop();
  const void* const roots[] = {no_memory_handler.context.load_relaxed(), message_context()};
  if (finds_lost && !leaks_find(roots, sizeof roots / sizeof *roots))
    Message().text("what nothing points to was not found: no memory, or no right to read the process").send();
  write_option_file();
}

void profile_fork_child() {
  // Threads that were at these are gone.
  is_writing_high.store_relaxed(false);
  outside_wanted.store_relaxed(Outside::nothing);
  if (is_from_outside) end();
}

void profile_serve_requests() { outside_profile.store_relaxed(serve); }

}  // namespace poolalloc

using namespace poolalloc;

POOLALLOC_EXPORT int poolalloc_profile_start(size_t mean) {
  const int error = begin(mean);
  if (error == 0) return 0;
  errno = error;
  return -1;
}

POOLALLOC_EXPORT void poolalloc_profile_stop(void) { end(); }

POOLALLOC_EXPORT int poolalloc_profile_write(const char* path) {
  const int error = write_file(path, false);
  if (error == 0) return 0;
  errno = error;
  return -1;
}
