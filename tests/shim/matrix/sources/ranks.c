/* SPDX-License-Identifier: Apache-2.0 */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	int rank, count;
	MPI_File together;
	char name[32], line[16];
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &count);
	(void)snprintf(name, sizeof(name), "rank-%d", rank);
	FILE *alone = fopen(name, "w");
	(void)fprintf(alone, "rank %d of %d\n", rank, count);
	(void)fclose(alone);
	(void)snprintf(line, sizeof(line), "%15d", rank);
	MPI_File_open(MPI_COMM_WORLD, "together", MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL,
		&together);
	MPI_File_write_at_all(together, rank * 16, line, 16, MPI_CHAR, MPI_STATUS_IGNORE);
	MPI_File_close(&together);
	MPI_Finalize();
	return 0;
}
