// What the models' programs share: their arguments, and what they print.
//
//   MODEL [MUTANT] [deep]     exit status 0: all laws hold; 1: one is violated; 2: no such mutant
//
// A mutant is the protocol with one step left out, weakened or out of order; it must violate a law. `correct` is none.
// `deep` searches longer histories. `MODEL --mutants` prints the names, those apart that are spare: what is
// left out there the code has, but no law needs it.
#pragma once

#include <time.h>

#include "machine.h"

namespace model {

template <size_t count>
bool arguments_read(int argc, char** argv, const char* const (&names)[count], unsigned spare, unsigned& mutant,
                    bool& is_deep) {
  is_deep = argc > 2 && strcmp(argv[2], "deep") == 0;
  if (argc < 2) return true;
  for (unsigned i = 0; i < count; i++) {
    if (strcmp(argv[1], names[i]) == 0) return mutant = i, true;
  }
  for (unsigned i = 0; i < spare; i++) puts(names[i]);
  return false;
}

// Whether all laws hold in whatever can become of `start`.
template <typename Model>
bool search_all(const Model& start) {
  auto search = new Search<Model>;
  const clock_t before = clock();
  const char* violated = search->run(start);
  printf("%zu states, %.1f s: %s\n", search->states(), double(clock() - before) / CLOCKS_PER_SEC,
         violated != nullptr ? violated : "all laws hold");
  fflush(stdout);
  delete search;
  return violated == nullptr;
}

}  // namespace model
