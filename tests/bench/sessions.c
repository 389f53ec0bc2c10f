/* Stands for web and game servers: sessions that gather objects over many requests, partly freed elsewhere.
 *
 * Each thread has its own sessions. A request adds a few objects to one of them; one request in sixteen ends
 * the session: half of its objects are freed here, the others are sent to the next thread, which frees them.
 */
#include "message.h"

enum { kThreads = 4, kSessions = 1000, kSends = 500, kLag = 4 };

typedef struct Worker {
  pthread_t thread;
  Queue inbox;
  struct Worker* next;
  uint64_t random, sum;
  Message* sessions[kSessions];
} Worker;

static Worker workers[kThreads];
static long sends;

static void end_session(Worker* worker, Message** session, Message** outbox, int* outbox_count) {
  for (int i = 0; *session != NULL; i++) {
    Message* message = *session;
    *session = message->next;
    if (i % 2 == 0) {
      worker->sum += message_end(message);
    } else {
      message->next = *outbox;
      *outbox = message;
      ++*outbox_count;
    }
  }
}

static void* serve(void* argument) {
  Worker* worker = argument;
  for (long sent = 0; sent < sends; sent++) {
    Message* outbox = NULL;
    for (int count = 0; count < kBatch;) {
      Message** session = &worker->sessions[random_next(&worker->random) % kSessions];
      for (uint64_t more = 1 + random_next(&worker->random) % 4; more > 0; more--) {
        *session = message_make(kMessageMin + random_small_size(&worker->random), *session);
      }
      if (random_next(&worker->random) % 16 == 0) end_session(worker, session, &outbox, &count);
    }
    queue_push(&worker->next->inbox, outbox);
    if (sent >= kLag) worker->sum += batch_end(queue_pop(&worker->inbox));
  }
  for (long late = sends < kLag ? sends : kLag; late > 0; late--) worker->sum += batch_end(queue_pop(&worker->inbox));
  for (int i = 0; i < kSessions; i++) worker->sum += batch_end(worker->sessions[i]);
  return NULL;
}

int main(int argc, char** argv) {
  sends = share(kSends, argument(argc, argv, 1, 100));
  for (int i = 0; i < kThreads; i++) {
    queue_init(&workers[i].inbox, 0, 1);
    workers[i].next = &workers[(i + 1) % kThreads];
    workers[i].random = 88172645463325252u + (unsigned)i;
  }
  uint64_t sum = 0;
  for (int i = 0; i < kThreads; i++) pthread_create(&workers[i].thread, NULL, serve, &workers[i]);
  for (int i = 0; i < kThreads; i++) {
    pthread_join(workers[i].thread, NULL);
    sum += workers[i].sum;
  }
  report_checksum(sum);
  return 0;
}
