/* guard KIND [OPTION...]: misuses a block that is guarded, under POOLALLOC_GUARD=1.
 *
 *   KIND    read+N, write+N     N bytes behind the last byte's next, counted from the end of what was asked for (-8
 *                               is inside); read-N, write-N: before the block
 *           freed-read, freed-write   after it was freed, at its third byte
 *           double, inside, slack     freed twice, freed at its 16th byte, freed after a byte behind it was written to
 *           realloc             realloc of a freed block     none   no misuse
 *   OPTION  thread      the misuse in a second thread           free-thread  the first free there
 *           before      a handler of the program's is installed before the library starts, and jumps out of the fault.
 *                       As a preloaded library starts first of all, this one comes by dlopen, from $GUARD_LIBRARY
 *           resume      the same, and makes the page accessible
 *           after       it is installed in main
 *           stack       handlers have a stack of their own
 *           fork        the misuse in a child, of the parent's block
 *           start, end  the block stands at its page's start, or end: tried until it does
 *
 * Always holds: prints the block's address; "handled" in a handler of its own; "alive" if it gets to the end.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "step.h"

enum { SIZE = 40 };
static const char* kind;
static char* block;
static char options[512];
static sigjmp_buf out;

static int has(const char* option) {
  char word[32];
  snprintf(word, sizeof word, " %s ", option);
  return strstr(options, word) != NULL;
}

static void handler(int number, siginfo_t* info, void* context) {
  char text[] = "handled\n";
  if (!context || number != SIGSEGV || !info->si_addr) _Exit(3);
  if (write(1, text, sizeof text - 1) < 0) _Exit(3);
  if (!has("resume")) siglongjmp(out, 1);
  void* page = (void*)((uintptr_t)info->si_addr & ~(uintptr_t)4095);
  /* A mapping of its own in the place of the page. */
  if (mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page) _Exit(3);
}

static void install(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  if (sigaction(SIGSEGV, &action, NULL) != 0) _Exit(3);
}

static void* (*take)(size_t) = malloc;
static void (*give)(void*) = free;
static void* (*resize)(void*, size_t) = realloc;

static void load(void) {
  void* library = dlopen(getenv("GUARD_LIBRARY"), RTLD_NOW);
  if (!library) _Exit(7);
  *(void**)&take = dlsym(library, "malloc");
  *(void**)&give = dlsym(library, "free");
  *(void**)&resize = dlsym(library, "realloc");
}

static void touch(char* p, int writes) {
  if (writes) {
    *(volatile char*)p = 1;
  } else {
    (void)*(volatile char*)p;
  }
}

static void* release(void* unused) {
  give(block);
  return unused;
}

static void* misuse(void* unused) {
  int writes = strncmp(kind, "write", 5) == 0;
  if (sigsetjmp(out, 1) != 0) return unused;
  if (strncmp(kind, "read", 4) == 0 && (kind[4] == '+' || kind[4] == '-')) {
    int distance = atoi(kind + 4);
    touch(distance < 0 ? block + distance : block + SIZE + distance, 0);
  } else if (writes) {
    int distance = atoi(kind + 5);
    touch(distance < 0 ? block + distance : block + SIZE + distance, 1);
  } else if (strncmp(kind, "freed-", 6) == 0) {
    touch(block + 3, kind[6] == 'w');
  } else if (strcmp(kind, "double") == 0) {
    give(block);
  } else if (strcmp(kind, "inside") == 0) {
    give(block + 16);
  } else if (strcmp(kind, "slack") == 0) {
    block[SIZE] = 0;
    give(block);
  } else if (strcmp(kind, "realloc") == 0) {
    if (resize(block, 100)) _Exit(5);
  }
  return unused;
}

int main(int argc, char** argv) {
  static char stack[65536];
  static void* others[60];
  if (argc < 2) return 2;
  kind = argv[1];
  for (int i = 2; i < argc; i++) sprintf(options + strlen(options), " %s ", argv[i]);
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  if (has("stack") && sigaltstack(&alternate, NULL) != 0) return 3;
  if (has("after") || has("before")) install();
  if (has("before")) load();
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int i = 0; i < 60; i++) {
    block = take(SIZE);
    uintptr_t place = (uintptr_t)block % 4096;
    if (has("start") ? place == 0 : has("end") ? place == 4048 : 1) break;
    others[i] = block;
  }
  memset(block, 'x', SIZE);
  printf("%p\n", (void*)block);
  if (kind[0] == 'f' || strcmp(kind, "double") == 0 || strcmp(kind, "realloc") == 0)
    in_thread(release, has("free-thread"));
  if (has("fork")) {
    pid_t child = fork();
    if (child != 0) {
      int status;
      if (waitpid(child, &status, 0) != child) return 6;
      puts("alive");
      return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    /* What the parent made is used and freed, and what is new is guarded, too. */
    for (int i = 0; i < 60; i++) give(others[i]);
    for (int i = 0; i < 100; i++) give(take(i));
  }
  in_thread(misuse, has("thread"));
  puts("alive");
  return 0;
}
