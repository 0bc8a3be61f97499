/* An MPI solver of the smallest kind: every rank adds up its share of the frames, the first writes the result.
   usage: total IN OUT     IN/NNNNNN/frames.npy float32 (n, y, x) */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double add(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return -1;
    unsigned char head[10];
    if (fread(head, 1, 10, file) != 10) exit(2);
    fseek(file, 10 + head[8] + 256 * head[9], SEEK_SET);
    float value;
    double total = 0;
    while (fread(&value, sizeof value, 1, file) == 1) total += value;
    fclose(file);
    return total;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    char path[4096];
    double mine = 0, all = 0, part;
    for (int i = rank;; i += size) {
        snprintf(path, sizeof path, "%s/%06d/frames.npy", argv[1], i);
        if ((part = add(path)) < 0) break;
        mine += part;
    }
    MPI_Reduce(&mine, &all, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        snprintf(path, sizeof path, "%s/facts.json", argv[2]);
        FILE *facts = fopen(path, "w");
        fprintf(facts, "{\"total\": %.17g, \"ranks\": %d}", all, size);
        fclose(facts);
        fprintf(stderr, "camlink: {\"ranks\": %d, \"total\": %.17g}\n", size, all);
    }
    MPI_Finalize();
    return 0;
}
