/* Filters of system calls for the programs here. Always: what a filter names is answered by the given error number, or
 * kills; everything else is allowed. Works as root and, with no_new_privs, as any user. */
#ifndef COMPAT_SANDBOX_H
#define COMPAT_SANDBOX_H
#include "check.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Answers the listed calls with `error`; with `only` set, kills the process at every call that is not listed. */
UNUSED static void sandbox(const int *calls, int count, int error, int only) {
  struct sock_filter code[64];
  int used = 0;
  LAW(count < 50, "too many calls in a filter");
  code[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int i = 0; i < count; i++)
    code[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], count - i, 0);
  unsigned listed = only ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | (unsigned)error;
  code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, only ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ALLOW);
  code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
  struct sock_fprog program = {.len = (unsigned short)used, .filter = code};
  LAW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
  LAW(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0, "seccomp: %s", strerror(errno));
}

#endif
