/* A library with 100 bytes of thread-local storage in the static block (initial-exec), of which many are preloaded together.
 * Always: its storage is its own. */
#include "check.h"

__attribute__((tls_model("initial-exec"))) static __thread char area[100];

__attribute__((constructor)) static void start(void) {
  LAW(all_zero(area, sizeof area), "thread-local storage is not zero");
  memset(area, 1, sizeof area);
}
