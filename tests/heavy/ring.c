/* ring: processes of one MPI program send each other blocks of all sizes, which each of them allocates anew.
 * Always: the first one prints the sum of what has come; a wrong byte ends the program. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  int number, count;
  long sum = 0, all = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &number);
  MPI_Comm_size(MPI_COMM_WORLD, &count);
  for (int round = 0; round < 300; round++) {
    int size = 1 + round * round * 37 % 4000000;
    char *out = malloc((size_t)size), *in = malloc((size_t)size);
    memset(out, number + round, (size_t)size);
    MPI_Sendrecv(out, size, MPI_CHAR, (number + 1) % count, 0, in, size, MPI_CHAR, (number + count - 1) % count, 0, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    if (in[0] != (char)((number + count - 1) % count + round) || in[size - 1] != in[0]) MPI_Abort(MPI_COMM_WORLD, 3);
    sum += size + in[size / 2];
    free(out);
    in = realloc(in, (size_t)size * 2);
    free(in);
  }
  MPI_Reduce(&sum, &all, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
  if (number == 0) printf("%d: %ld\n", count, all);
  MPI_Finalize();
  return 0;
}
