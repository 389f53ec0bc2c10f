// Goes through all parts a thousand times and prints what that comes to.
#include <stdio.h>

unsigned unit0(unsigned x, const unsigned* table);
unsigned last(unsigned x, const unsigned* table) { return x ^ table[0]; }

int main(void) {
  unsigned table[64], x = 1;
  for (unsigned i = 0; i < 64; i++) table[i] = i * 2654435761u;
  for (int i = 0; i < 1000; i++) x = unit0(x, table);
  printf("%u\n", x);
}
