/* fork_beside_libc <forks> <flush|getline|fopen|locale|users|addresses|dlopen|atfork>: one thread is inside a part of libc that holds
 * a lock while it allocates, or while others wait who must allocate first; one forks; one allocates.
 * Always: nobody waits for ever, and every child has a whole heap. */
#include "check.h"
#include <locale.h>
#include <netdb.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

static atomic_bool done;
static atomic_long rounds;
static const char *part;
static FILE *lines;

static void nothing(void) {}

static void libc_part(void) {
  if (!strcmp(part, "getline")) {
    char *line = NULL;
    size_t size = 0;
    rewind(lines);
    while (getline(&line, &size, lines) > 0) {}
    free(line);
  } else if (!strcmp(part, "fopen")) {
    FILE *file = fopen("/proc/self/stat", "r");
    LAW(file && fgetc(file) != EOF, "no /proc/self/stat");
    fclose(file);
  } else if (!strcmp(part, "locale")) {
    locale_t locale = newlocale(LC_ALL_MASK, "C.UTF-8", NULL);
    setlocale(LC_ALL, rounds % 2 ? "C.UTF-8" : "C");
    if (locale) freelocale(locale);
  } else if (!strcmp(part, "users")) {
    LAW(getpwnam("root"), "no root");
    endpwent();
  } else if (!strcmp(part, "addresses")) {
    struct addrinfo *found = NULL;
    if (getaddrinfo("127.0.0.1", "80", NULL, &found) == 0) freeaddrinfo(found);
  } else if (!strcmp(part, "dlopen")) {
    void *handle = dlopen("libm.so.6", RTLD_NOW);
    LAW(handle, "no libm");
    dlclose(handle);
  } else if (!strcmp(part, "atfork")) {
    // libc keeps them in an array that grows, under a lock of its own.
    if (rounds < 2000) pthread_atfork(nothing, nothing, nothing);
  }
}

static void *in_libc(void *unused) {
  (void)unused;
  for (; !done; rounds++) {
    libc_part();
    if (!strcmp(part, "getline") && rounds % 2) fflush(NULL);
  }
  return NULL;
}

static void *allocating(void *unused) {
  (void)unused;
  for (uint64_t state = 7; !done;) {
    void *blocks[40];
    for (int i = 0; i < 40; i++) blocks[i] = malloc(random_size(&state, 300000));
    for (int i = 0; i < 40; i++) free(blocks[i]);
  }
  return NULL;
}

static void fork_once(void) {
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    exercise_heap();
    // The list of streams is whole there, and nobody's.
    FILE *file = fopen("/proc/self/stat", "r");
    LAW(file != NULL, "no stream in the child");
    fclose(file);
    fflush(NULL);
    _exit(0);
  }
  int status = -1;
  LAW(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child ended with %#x", status);
}

static void *flushing(void *unused) {
  (void)unused;
  fflush(NULL);
  return NULL;
}

static void *forking(void *unused) {
  (void)unused;
  fork_once();
  return NULL;
}

/* Whoever flushes all streams holds their list and waits for the pipe's reader, who allocates before it reads. */
static void flush_to_reader(void) {
  static char text[40000], buffer[65536], sink[65536];
  int ends[2];
  LAW(pipe(ends) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0, "no pipe");
  FILE *stream = fdopen(ends[1], "w");
  memset(text, 'x', sizeof text);
  setvbuf(stream, buffer, _IOFBF, sizeof buffer);
  fwrite(text, 1, sizeof text, stream);
  pthread_t flusher, forker;
  pthread_create(&flusher, NULL, flushing, NULL);
  /* Until it waits for the reader: a child of before would have the text to write, too. */
  for (int waiting = 0; waiting < 4096; usleep(1000)) LAW(ioctl(ends[0], FIONREAD, &waiting) == 0, "no pipe");
  usleep(50000);
  pthread_create(&forker, NULL, forking, NULL);
  usleep(50000);
  void *blocks[200];
  for (int i = 0; i < 200; i++) LAW((blocks[i] = malloc(3000 + (size_t)i * 1000)), "no memory");
  for (int i = 0; i < 200; i++) free(blocks[i]);
  for (size_t got = 0; got < sizeof text;) {
    ssize_t more = read(ends[0], sink, sizeof sink);
    LAW(more > 0, "nothing to read");
    got += (size_t)more;
  }
  pthread_join(flusher, NULL);
  pthread_join(forker, NULL);
  fclose(stream);
  close(ends[0]);
}

int main(int argc, char **argv) {
  int forks = argc > 1 ? atoi(argv[1]) : 100;
  part = argc > 2 ? argv[2] : "flush";
  alarm(50);
  if (!strcmp(part, "flush")) {
    for (int i = 0; i < forks; i++) flush_to_reader();
    return 0;
  }
  lines = tmpfile();
  LAW(lines, "no temporary file");
  for (int i = 1; i < 9; i++) fprintf(lines, "%0*d\n", i * 7000, i);
  fflush(lines);
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, in_libc, NULL);
  pthread_create(&threads[1], NULL, allocating, NULL);
  for (int i = 0; i < forks; i++) fork_once();
  done = true;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  LAW(rounds > 0, "nothing was done beside the forks");
  return 0;
}
