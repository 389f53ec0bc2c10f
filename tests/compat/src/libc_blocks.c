/* Blocks that the C library allocates and hands to the program. Always: each is an ordinary block: its usable size
 * covers what is in it, realloc keeps its bytes, free takes it. */
#include "check.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <glob.h>
#include <netdb.h>
#include <regex.h>
#include <wchar.h>
#include <wordexp.h>

/* Judges a block that holds `size` bytes and frees it: grown first if `grow` is true. */
static void ordinary(const char *origin, void *block, size_t size, int grow) {
  LAW(block, "%s gave NULL: %s", origin, strerror(errno));
  LAW(malloc_usable_size(block) >= size, "usable size %zu of %zu bytes by %s", malloc_usable_size(block), size, origin);
  if (grow) {
    unsigned char copy[64];
    size_t kept = size < sizeof copy ? size : sizeof copy;
    memcpy(copy, block, kept);
    block = realloc(block, size + 10000);
    LAW(block && memcmp(copy, block, kept) == 0, "realloc of a block by %s", origin);
  }
  free(block);
}

static void text(const char *origin, char *string, int grow) {
  LAW(string, "%s gave NULL: %s", origin, strerror(errno));
  ordinary(origin, string, strlen(string) + 1, grow);
}

__attribute__((format(printf, 2, 3))) static int print(char **out, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int used = vasprintf(out, format, list);
  va_end(list);
  return used;
}

static void strings(int grow) {
  char *made;
  text("strdup", strdup("a string"), grow);
  text("strndup", strndup("a longer string than that", 12), grow);
  LAW(asprintf(&made, "%d %s", 42, "formatted") > 0, "asprintf");
  text("asprintf", made, grow);
  LAW(print(&made, "%0500d", 7) == 500, "vasprintf");
  text("vasprintf", made, grow);
  wchar_t *wide = wcsdup(L"wide");
  ordinary("wcsdup", wide, 5 * sizeof *wide, grow);
  text("realpath", realpath("/etc/../etc/passwd", NULL), grow);
  text("getcwd", getcwd(NULL, 0), grow);
  text("getcwd of a given size", getcwd(NULL, 8192), grow);
  text("get_current_dir_name", get_current_dir_name(), grow);
}

static void streams(int grow) {
  char *line = NULL;
  size_t room = 0;
  FILE *file = fopen("/etc/passwd", "r");
  LAW(file, "no /etc/passwd");
  LAW(getline(&line, &room, file) > 0 && malloc_usable_size(line) >= room, "getline");
  while (getline(&line, &room, file) > 0) continue;
  ordinary("getline", line, room, grow);
  rewind(file);
  line = malloc(1);  /* getdelim must be able to grow a block of ours */
  room = 1;
  LAW(getdelim(&line, &room, 0, file) > 100, "getdelim");
  ordinary("getdelim", line, room, grow);
  fclose(file);

  size_t size = 0;
  char *memory = NULL;
  FILE *stream = open_memstream(&memory, &size);
  LAW(stream, "open_memstream");
  for (int i = 0; i < 5000; i++) fprintf(stream, "%d ", i);
  fclose(stream);
  LAW(size == strlen(memory) && size > 20000, "open_memstream wrote %zu", size);
  ordinary("open_memstream", memory, size + 1, grow);
  wchar_t *wide = NULL;
  stream = open_wmemstream(&wide, &size);
  fputws(L"wide", stream);
  fclose(stream);
  ordinary("open_wmemstream", wide, (size + 1) * sizeof *wide, grow);
  char buffer[100];
  stream = fmemopen(NULL, 100, "w+");
  LAW(stream && fputs("x", stream) >= 0 && fclose(stream) == 0, "fmemopen");
  stream = popen("echo from a pipe", "r");
  LAW(stream && fgets(buffer, sizeof buffer, stream) && pclose(stream) == 0, "popen");
}

static void lists(int grow) {
  struct dirent **entries;
  int count = scandir("/etc", &entries, NULL, alphasort);
  LAW(count > 5, "scandir found %d", count);
  for (int i = 0; i < count; i++) ordinary("scandir's entry", entries[i], 20, grow);
  ordinary("scandir", entries, count * sizeof *entries, grow);

  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = 0}, *addresses;
  LAW(getaddrinfo("127.0.0.1", "80", &hints, &addresses) == 0, "getaddrinfo of a number");
  freeaddrinfo(addresses);
  if (getaddrinfo("localhost", NULL, NULL, &addresses) == 0) freeaddrinfo(addresses);

  regex_t regex;
  LAW(regcomp(&regex, "^(a|bc)+[[:digit:]]{2,5}$", REG_EXTENDED) == 0, "regcomp");
  LAW(regexec(&regex, "abcabc123", 0, NULL, 0) == 0, "regexec");
  regfree(&regex);

  wordexp_t words;
  LAW(wordexp("one $HOME 'two three' /etc/passw?", &words, 0) == 0 && words.we_wordc == 4, "wordexp");
  wordfree(&words);
  glob_t found;
  LAW(glob("/etc/*", 0, NULL, &found) == 0 && found.gl_pathc > 5, "glob");
  globfree(&found);
}

int main(void) {
  for (int round = 0; round < 20; round++) {
    strings(round % 2);
    streams(round % 2);
    lists(round % 2);
  }
  exercise_heap();
  return 0;
}
