/* rseq <0|1>: a program whose C library has (1) or has not (0) registered restartable sequences, as GLIBC_TUNABLES
 * says, looks at its own registration in threads that allocate. Always: the kernel keeps the processor's number up to
 * date in every thread where they are registered; nobody has registered, changed or ended them but libc; exit 77 means
 * that this libc or kernel has none. */
#include "check.h"

#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

/* The beginning of the kernel's struct rseq, which does not change. */
struct area {
  uint32_t cpu_id_start, cpu_id;
  uint64_t critical_section;
  uint32_t flags;
};
enum { unregistered = -1, failed = -2, signature = 0x53053053 };
static int is_wanted, is_absent;
static ptrdiff_t* offset;
static unsigned* size;

static volatile struct area* own(void) { return (volatile struct area*)((char*)__builtin_thread_pointer() + *offset); }

static void look(void) {
  int number = (int)own()->cpu_id;
  if (!is_wanted) {
    LAW(number < 0, "processor %d is noted though libc has registered nothing", number);
    return;
  }
  if (number == failed) is_absent = 1;
  LAW(is_absent || number >= 0, "not registered: %d", number);
  LAW(own()->critical_section == 0 && own()->flags == 0, "the area was written to");
}

static void* body(void* argument) {
  look();
  for (int i = 0; i < 20; i++) {
    exercise_heap();
    look();
  }
  malloc_trim(0);
  look();
  return argument;
}

int main(int argc, char** argv) {
  LAW(argc == 2, "usage");
  is_wanted = atoi(argv[1]);
  offset = dlsym(RTLD_DEFAULT, "__rseq_offset"), size = dlsym(RTLD_DEFAULT, "__rseq_size");
  if (!offset || !size) return 77;
  LAW(is_wanted || *size == 0, "libc has registered %u bytes", *size);
  pthread_t thread[4];
  for (long i = 0; i < 4; i++) start_thread(&thread[i], body, NULL);
  body(NULL);
  for (long i = 0; i < 4; i++) pthread_join(thread[i], NULL);
  if (is_absent) return 77;
  if (is_wanted) return 0;
  /* Nobody has them: they can be registered here, and by no one twice. */
  static struct area __attribute__((aligned(32))) area[2] = {{.cpu_id = (uint32_t)unregistered}, {0}};
  if (syscall(SYS_rseq, area, 32, 0, signature) != 0) {
    LAW(errno == ENOSYS, "rseq: %s", strerror(errno));
    return 77;
  }
  exercise_heap();
  sched_yield();
  LAW((int)area->cpu_id >= 0, "the kernel notes no processor");
  return 0;
}
