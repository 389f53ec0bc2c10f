// Processes: a trace in a child of its own, and children that a trace forks.
//
// A forked child goes on with the steps that follow, as its parent does afterwards, with the blocks that it has
// inherited; it frees all of them, and its exit status says whether all laws held. Where lanes were together, those
// that are gone may have been in the middle of anything: then the child leaves their blocks alone.
//
// Always holds: a child ends by itself, or with its parent. Who may use it: the trace interpreter.
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interpreter.h"
#include "world.h"

namespace fuzz {
namespace {

constexpr int kChildGood = 42;
constexpr unsigned kChildSteps = 24;

// As another program's: it ends with its parent, and signals end it.
void child_begin(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) entry::_exit(1);
  for (int number : {SIGABRT, SIGSEGV, SIGBUS, SIGALRM, SIGINT, SIGTERM}) {
    struct sigaction now {};
    // A handler of the library's own stays.
    if (number == SIGSEGV && settings.has_guard) continue;
    if (sigaction(number, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) signal(number, SIG_DFL);
  }
}

bool child_ended_well(pid_t child, const char* whose) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kChildGood) return true;
  fprintf(stderr, "fuzz: %s has ended by %s %d\n", whose, WIFSIGNALED(status) ? "signal" : "status",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  return false;
}

// Of a lane's thread that goes on as the only one.
void child_of_lane(Lane& lane, unsigned from) {
  thread_pops_all(*lane.pushed);
  world.is_child = true;
  if (world.is_together) {
    // The others' slots may be about to change; what they have is theirs.
    world.is_lost = true;
    world.is_together = false;
    for (Lane& other : world.lanes) {
      if (&other == &lane) continue;
      for (Block*& slot : other.slots) slot = nullptr;
      for (Chain& chain : other.chains) chain.is_there = false;
    }
  }
  world.direct = 1 | 1u << lane.number;
  for (Lane& each : world.lanes) {
    each.is_started = false;
    each.own_pushed.depth = 0;
  }
  world.lanes[0].pushed = lane.pushed;
  const unsigned to = from + kChildSteps < world.step_count ? from + kChildSteps : world.step_count;
  if (!world.is_lost) look_at_all();
  run_range(from, to);
  end_all();
}

}  // namespace

void do_fork(Lane& lane, const Step& step) {
  if (world.is_child) return;
  const unsigned next = current_step + 1;
  const pid_t parent = getpid();
  // Nobody changes the shadow meanwhile.
  pthread_mutex_lock(&shadow_lock);
  const pid_t child = fork();
  pthread_mutex_unlock(&shadow_lock);
  if (child == 0) {
    child_begin(parent);
    child_of_lane(lane, next);
    step.how % 2 == 0 ? entry::_exit(kChildGood) : entry::_Exit(kChildGood);
  }
  if (child < 0) return expect(world.may_refuse, "no child");
  if (!child_ended_well(child, "a forked child")) violated("a forked child has not ended well");
}

const char* scratch_path(const char* name) {
  static __thread char path[256];
  snprintf(path, sizeof path, "%s/%s-%d", settings.folder, name, int(gettid()));
  return path;
}

bool trace_run_in_child(const uint8_t* data, size_t size, void (*at_end)()) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    child_begin(parent);
    trace_run(data, size);
    if (at_end != nullptr) at_end();
    entry::_exit(kChildGood);
  }
  expect(child > 0, "no child for the trace");
  return child_ended_well(child, "the trace's process");
}

}  // namespace fuzz
