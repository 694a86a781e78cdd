// Sums over the rows for each column of a dense X in either order, and the standardised rows of a Gram matrix.
//
// The loader puts before it: T (float, double), ROWS_ARE_FAST (1 where the rows of a column are neighbours, F order).
#include "common.cuh"

constexpr int WIDTH = ROWS_ARE_FAST ? 1 : 32, DEPTH = THREADS / WIDTH;

// Weighted sums of x - shift and of its square, and the largest |x - shift|, over the rows with weight. partial:
// (3, d, slots); a block takes WIDTH columns (blockIdx.y) of a share of the rows (blockIdx.x).
extern "C" __global__ void __launch_bounds__(THREADS)
    moments(const T* X, i64 row_stride, i64 column_stride, i64 n, int d, const double* s, int one_weight,
            const double* shift, double* partial) {
    __shared__ double board[3][THREADS];
    const int j = blockIdx.y * WIDTH + threadIdx.x % WIDTH;
    const i64 low = share_of(n, blockIdx.x, gridDim.x), high = share_of(n, blockIdx.x + 1, gridDim.x);
    double first = 0.0, second = 0.0, top = 0.0;
    if (j < d) {
        const double base = shift[j];
        for (i64 i = low + threadIdx.x / WIDTH; i < high; i += DEPTH) {
            const double weight = weight_of(s, one_weight, i);
            if (weight > 0.0) {
                const double gap = (double)X[i * row_stride + j * column_stride] - base;
                first += weight * gap;
                second += weight * gap * gap;
                top = fmax(top, fabs(gap));
            }
        }
    }
    board[0][threadIdx.x] = first;
    board[1][threadIdx.x] = second;
    board[2][threadIdx.x] = top;
    __syncthreads();
    if (threadIdx.x < WIDTH && j < d) {
        for (int k = 1; k < DEPTH; ++k) {
            first += board[0][threadIdx.x + k * WIDTH];
            second += board[1][threadIdx.x + k * WIDTH];
            top = fmax(top, board[2][threadIdx.x + k * WIDTH]);
        }
        const i64 slots = gridDim.x;
        partial[(i64)j * slots + blockIdx.x] = first;
        partial[((i64)d + j) * slots + blockIdx.x] = second;
        partial[((i64)2 * d + j) * slots + blockIdx.x] = top;
    }
}

// A: sqrt(|h_i|) ((x_ij - mean_j) / scale_j) for the rows from start to stop and the first d of `width` columns,
// sqrt(|h_i|) in column d where there is one; the root is 1 where h is null, and entries are squared where `squares`.
// (rows, width) in C order, or (width, rows) where the rows are neighbours in X.
extern "C" __global__ void __launch_bounds__(THREADS)
    standardised(const T* X, i64 row_stride, i64 column_stride, i64 start, i64 stop, int d, int width, const double* h,
                 const double* mean, const double* scale, int squares, double* A) {
    const i64 rows = stop - start, total = rows * width;
    for (i64 t = (i64)blockIdx.x * THREADS + threadIdx.x; t < total; t += (i64)gridDim.x * THREADS) {
        const i64 slow = t / (ROWS_ARE_FAST ? rows : width), fast = t - slow * (ROWS_ARE_FAST ? rows : width);
        const i64 i = start + (ROWS_ARE_FAST ? fast : slow);
        const int j = (int)(ROWS_ARE_FAST ? slow : fast);
        const double root = h ? sqrt(fabs(h[i])) : 1.0;
        const double entry = j < d ? ((double)X[i * row_stride + j * column_stride] - mean[j]) / scale[j] : 1.0;
        A[t] = squares ? root * entry * entry : root * entry;
    }
}
