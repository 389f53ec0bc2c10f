/* spawn <rounds>: eight threads start programs by vfork, posix_spawn, popen and system while they allocate.
 * Always: each program's output and status are the right ones, and live blocks keep their bytes. */
#include "check.h"
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static int rounds;

static void read_all(int fd, char *text, size_t room) {
  size_t used = 0;
  for (ssize_t n; used + 1 < room && (n = read(fd, text + used, room - 1 - used)) > 0;) used += n;
  text[used] = 0;
  close(fd);
}

static void expect_exit(pid_t child, int wanted, const char *how) {
  int status = -1;
  LAW(child > 0 && waitpid(child, &status, 0) == child, "%s: %s", how, strerror(errno));
  LAW(WIFEXITED(status) && WEXITSTATUS(status) == wanted, "%s ended with %#x", how, status);
}

static void spawn_once(int number) {
  char script[64], wanted[64], text[64];
  snprintf(script, sizeof script, "echo hello %d; exit %d", number, number % 100);
  snprintf(wanted, sizeof wanted, "hello %d\n", number);
  char *arguments[] = {"sh", "-c", script, NULL};
  int ends[2];
  LAW(pipe2(ends, O_CLOEXEC) == 0, "pipe2");
  posix_spawn_file_actions_t actions;
  LAW(posix_spawn_file_actions_init(&actions) == 0, "file actions");
  LAW(posix_spawn_file_actions_adddup2(&actions, ends[1], 1) == 0, "adddup2");
  pid_t child = -1;
  int error = posix_spawnp(&child, "sh", &actions, NULL, arguments, environ);
  LAW(error == 0, "posix_spawnp: %s", strerror(error));
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  read_all(ends[0], text, sizeof text);
  LAW(strcmp(text, wanted) == 0, "posix_spawn: '%s' is not '%s'", text, wanted);
  expect_exit(child, number % 100, "posix_spawn");

  child = vfork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", "exit 33", (char *)NULL);
    _exit(99);
  }
  expect_exit(child, 33, "vfork and exec");
  child = vfork();
  if (child == 0) {
    execl("/no/such/program", "x", (char *)NULL);
    _exit(44);
  }
  expect_exit(child, 44, "vfork and a failed exec");

  FILE *stream = popen(script, "r");
  LAW(stream && fgets(text, sizeof text, stream), "popen: %s", strerror(errno));
  LAW(strcmp(text, wanted) == 0, "popen: '%s' is not '%s'", text, wanted);
  int status = pclose(stream);
  LAW(WIFEXITED(status) && WEXITSTATUS(status) == number % 100, "pclose gave %#x", status);

  snprintf(script, sizeof script, "test %d -eq %d", number, number);
  LAW(system(script) == 0, "system");
}

static void *body(void *argument) {
  uint64_t state = (uintptr_t)argument;
  unsigned char *live[100] = {0};
  size_t size[100];
  for (int i = 0; i < rounds; i++) {
    for (int j = 0; j < 2000; j++) {
      int k = random_next(&state) % 100;
      if (live[k]) LAW(filled_some(live[k], size[k], k), "a block of %zu bytes has changed", size[k]);
      free(live[k]);
      live[k] = malloc(size[k] = random_size(&state, 2 * MIB));
      fill_some(live[k], size[k], k);
    }
    spawn_once((int)random_next(&state) % 10000);
  }
  for (int k = 0; k < 100; k++) free(live[k]);
  return NULL;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  rounds = atoi(argv[1]);
  pthread_t thread[8];
  for (long i = 0; i < 8; i++) start_thread(&thread[i], body, (void *)(i + 1));
  for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
  exercise_heap();
  return 0;
}
