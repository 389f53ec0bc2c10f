/* with_filter <error> <call> <program> [argument...]: starts a program in which one system call fails with that error number.
 * Always: the program is replaced, or the launcher says what failed. */
#include "sandbox.h"

static const struct { const char *name; int number; } calls[] = {
    {"prctl", SYS_prctl}, {"madvise", SYS_madvise}, {"mbind", SYS_mbind}, {"getrandom", SYS_getrandom},
    {"mremap", SYS_mremap}, {"membarrier", SYS_membarrier}, {"rseq", SYS_rseq}, {"getcpu", SYS_getcpu},
    {"get_mempolicy", SYS_get_mempolicy}, {"sched_getaffinity", SYS_sched_getaffinity}, {"sysinfo", SYS_sysinfo},
    {"clock_gettime", SYS_clock_gettime}, {"gettid", SYS_gettid}, {"set_robust_list", SYS_set_robust_list}};

int main(int argc, char **argv) {
  LAW(argc >= 4, "usage");
  int found = 0;
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (strcmp(calls[i].name, argv[2]) == 0) {
      sandbox(&calls[i].number, 1, atoi(argv[1]), 0);
      found = 1;
    }
  LAW(found, "unknown call %s", argv[2]);
  setenv("LD_PRELOAD", getenv("COMPAT_LIB") ? getenv("COMPAT_LIB") : "", 1);
  execvp(argv[3], argv + 3);
  LAW(0, "exec: %s", strerror(errno));
}
