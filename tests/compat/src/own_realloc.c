/* own_realloc: a program with a malloc, calloc, realloc and free of its own, and nothing else of the family.
 * Always: glibc's reallocarray goes to its realloc; what libc's functions hand out is the program's, and they give the program's
 * free nothing else; blocks of those functions that it has not are not among its own. */
#include "check.h"
#include <dirent.h>
#include <regex.h>

static char heap[64 << 20] __attribute__((aligned(16)));
static size_t used;
static long frees_of_others;

static int is_own(const void *block) { return (const char *)block > heap && (const char *)block < heap + sizeof heap; }

static size_t *header(void *block) { return (size_t *)block - 2; }

void *malloc(size_t size) {
  size = (size + 15) / 16 * 16;
  size_t at = __atomic_fetch_add(&used, size + 16, __ATOMIC_RELAXED);
  size_t *start = (size_t *)(heap + at);
  if (at + size + 16 > sizeof heap) return NULL;
  *start = size;
  return start + 2;
}

void free(void *block) { frees_of_others += block != NULL && !is_own(block); }
void *calloc(size_t count, size_t size) {
  void *block = malloc(count * size);
  return block ? memset(block, 0, count * size) : NULL;
}

void *realloc(void *block, size_t size) {
  void *moved = malloc(size);
  if (!block || !moved) return moved;
  return memcpy(moved, block, *header(block) < size ? *header(block) : size);
}

static void *in_thread(void *file) {
  char *line = NULL;
  size_t room = 0;
  rewind(file);
  LAW(getline(&line, &room, file) > 0 && is_own(line), "getline in a thread");
  free(line);
  return NULL;
}

static void functions_of_libc(void) {
  char *text = NULL, *more = NULL;
  size_t size = 0;
  LAW(asprintf(&text, "%0*d", 5000, 7) == 5000 && is_own(text), "asprintf gave %p", (void *)text);
  free(text);
  LAW(is_own(text = strdup("copy")) && is_own(more = strndup("copied", 3)), "strdup");
  free(text);
  free(more);
  LAW(is_own(text = realpath("/", NULL)) && is_own(more = getcwd(NULL, 0)), "realpath, getcwd");
  free(text);
  free(more);
  FILE *stream = open_memstream(&text, &size);
  LAW(stream != NULL, "open_memstream");
  for (int i = 0; i < 20000; i++) fprintf(stream, "%d ", i);
  fclose(stream);
  LAW(is_own(text) && size > 80000, "open_memstream gave %p, %zu", (void *)text, size);
  free(text);
  struct dirent **entries;
  int count = scandir("/etc", &entries, NULL, alphasort);
  LAW(count > 0 && is_own(entries) && is_own(entries[0]), "scandir");
  for (int i = 0; i < count; i++) free(entries[i]);
  free(entries);
  regex_t expression;
  LAW(regcomp(&expression, "(a|b)*c{2,5}", REG_EXTENDED) == 0 && regexec(&expression, "abacc", 0, NULL, 0) == 0, "regcomp");
  regfree(&expression);
  FILE *file = tmpfile();
  LAW(file && fputs("a line\n", file) >= 0, "tmpfile");
  pthread_t threads[8];
  for (int i = 0; i < 8; i++) {
    start_thread(&threads[i], in_thread, file);
    pthread_join(threads[i], NULL);
  }
  fclose(file);
  dlclose(dlopen("libm.so.6", RTLD_NOW));
  LAW(frees_of_others == 0, "%ld blocks of others came to the program's free", frees_of_others);
}

/* What the program has not is the library's own, and usable as such. */
static void functions_of_others(void) {
  void *aligned = NULL;
  LAW(posix_memalign(&aligned, 4096, 100) == 0 && (uintptr_t)aligned % 4096 == 0, "posix_memalign");
  LAW(!is_own(aligned) && malloc_usable_size(aligned) >= 100, "posix_memalign gave %p", aligned);
  memset(aligned, 1, malloc_usable_size(aligned));
}

int main(void) {
  char *block = malloc(20);
  strcpy(block, "kept");
  char *array = reallocarray(block, 10, 20);
  LAW(array && !strcmp(array, "kept"), "reallocarray gave %p, errno %d", (void *)array, errno);
  LAW(array > heap && array < heap + sizeof heap, "not by the program's realloc");
  errno = 0;
  LAW(!reallocarray(array, opaque_n(SIZE_MAX / 2), 3) && errno == ENOMEM, "the product is not checked");
  functions_of_libc();
  functions_of_others();
  return 0;
}
