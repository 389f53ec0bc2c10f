/* Stands for a thread per task: 40000 short threads, half of whose blocks a later thread frees.
 *
 * Figures: seconds for all, the most resident after the first tenth relative to what was resident then.
 */
#include "probe.h"

enum { kThreads = 40000, kBlocks = 200, kAtOnce = 4 };

typedef struct Task {
  pthread_t thread;
  uint64_t random;
  Slot left[kBlocks / 2];
} Task;

static Task tasks[kAtOnce];

static void* work(void* argument) {
  Task* task = argument;
  Slot mine[kBlocks / 2] = {{NULL, 0}};
  for (int i = 0; i < kBlocks / 2; i++) {
    slot_renew(&task->left[i], random_mixed_size(&task->random), (char)i);
    slot_renew(&mine[i], random_mixed_size(&task->random), (char)i);
  }
  for (int i = 0; i < kBlocks / 2; i++) slot_end(&mine[i], (char)i);
  return NULL;
}

int main(int argc, char** argv) {
  long count = share(kThreads, argument(argc, argv, 1, 100));
  for (int i = 0; i < kAtOnce; i++) tasks[i].random = 88172645463325252u + (unsigned)i;
  probe_start();
  double start = now_s();
  long early = 0, most = 0;
  for (long i = 0; i < count + kAtOnce; i++) {
    Task* task = &tasks[i % kAtOnce];
    if (i >= kAtOnce && pthread_join(task->thread, NULL) != 0) fail("no such thread");
    if (i < count && pthread_create(&task->thread, NULL, work, task) != 0) fail("no thread");
    if (i % 400 != 399) continue;
    long resident = resident_kib();
    if (i < count / 10) {
      early = resident > early ? resident : early;
    } else {
      most = resident > most ? resident : most;
    }
  }
  figure("all_s", now_s() - start);
  figure("growth", (double)most / (double)early);
  figure("most_mib", (double)most / 1024);
  return 0;
}
