// A program that allocates, grows and frees in everything that runs at exit: handlers, ELF and C++ destructors, the
// destructors of thread_local objects. Always: blocks of main are intact there, and the last word is "exit 0".
#include "check.h"

static void say(const char *text) { LAW(write(STDOUT_FILENO, text, strlen(text)) > 0, "write"); }

static void *kept[4];

static void grow_and_free(int which) {
  LAW(kept[which] && filled(kept[which], 5000, which), "a block changed before exit handler %d", which);
  kept[which] = realloc(kept[which], 300000);
  LAW(kept[which] && filled(kept[which], 5000, which), "realloc in exit handler %d", which);
  free(kept[which]);
  exercise_heap();
}

struct Static {
  int *numbers = new int[1000]();
  ~Static() {
    LAW(all_zero(numbers, 4000), "a static object's block changed");
    delete[] numbers;
    grow_and_free(0);
    say("static destructor\n");
  }
};

struct Local {
  int *numbers = new int[1000]();
  ~Local() {
    delete[] numbers;
    grow_and_free(1);
    say("thread_local destructor\n");
  }
};

static Static object;
static thread_local Local local;

static void handler() {
  grow_and_free(2);
  LAW(atexit([] { free(malloc(100)); say("handler of the handler\n"); }) == 0, "atexit in a handler");
  say("handler\n");
}

__attribute__((destructor)) static void elf_destructor() {
  grow_and_free(3);
  say("elf destructor\n");
}

int main() {
  for (int i = 0; i < 4; i++) fill(kept[i] = malloc(5000), 5000, i);
  local.numbers[0] = 0;
  LAW(atexit(handler) == 0, "atexit");
  return 0;
}
