#include <mpi.h>
#include <stdio.h>

int main(int count, char **arguments) {
  MPI_Init(&count, &arguments);
  int rank, sum;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  int mine = rank + 1;
  MPI_Reduce(&mine, &sum, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0) printf("sum %d\n", sum);
  MPI_Finalize();
}
