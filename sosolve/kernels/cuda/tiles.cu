// K outputs, or X in F order: a pass that reads X once, from memory to a tile of rows in shared memory.
//
// A block fetches ROWS rows, PARTS adjacent lanes form the K predictors of each, the losses turn them into slopes, and
// every thread adds the rows' slopes times its columns to sums it keeps in registers. Copies to shared memory bypass
// the registers where the device can do so; while one block waits for them, others on the same multiprocessor compute.
//
// The loader puts before it: T (float, double), K, ROWS (of a tile), COLUMNS (a thread adds up), SHARES (threads that
// divide the rows of a tile between them for the same columns), ROWS_ARE_FAST (1 for F order).
#include "common.cuh"
#include "losses.cuh"

constexpr int PARTS = THREADS / ROWS, WIDTH = THREADS / SHARES;
// Blocks on a multiprocessor: as many as the sums in registers leave room for.
constexpr int RESIDENT = COLUMNS * K <= 4 ? 4 : COLUMNS * K <= 12 ? 3 : 2;

__device__ inline void fetch(T* to, const T* from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const unsigned address = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from), "n"((int)sizeof(T)) : "memory");
#else
    *to = *from;
#endif
}

__device__ inline void fetched() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
    __syncthreads();
}

// Fills the tile with rows start .. start + ROWS: zeros beyond the last one, and ones in column d.
__device__ inline void fill(T* tile, int pitch, const T* X, i64 stride, i64 start, i64 high, int d) {
    if (ROWS_ARE_FAST) {
        const int i = threadIdx.x % ROWS;
        for (int j = threadIdx.x / ROWS; j < d; j += THREADS / ROWS) {
            if (start + i < high)
                fetch(tile + i * pitch + j, X + start + i + j * stride);
            else
                tile[i * pitch + j] = 0;
        }
    } else {
        for (int i = threadIdx.x / 32; i < ROWS; i += THREADS / 32)
            for (int j = threadIdx.x % 32; j < d; j += 32) {
                if (start + i < high)
                    fetch(tile + i * pitch + j, X + (start + i) * stride + j);
                else
                    tile[i * pitch + j] = 0;
            }
    }
    for (int i = threadIdx.x; i < ROWS; i += THREADS) tile[i * pitch + d] = 1;
    fetched();
}

// a: y of the losses, h (or P for K > 1) of NORMAL, r of TRANSPOSED. w: (K, d). partial: K (d + 1) + 1 rows of one slot
// for each block: for each output the gradient and the sum of the slopes, then the value.
template <int MODE>
__device__ inline void pass(const T* __restrict__ X, i64 stride, i64 n, int d, const double* __restrict__ a,
                            const double* __restrict__ s, int one_weight, const double* __restrict__ w,
                            const double* __restrict__ b, int reference, double* __restrict__ z,
                            double* __restrict__ curvature, double* __restrict__ partial) {
    DYNAMIC_SHARED(shared);
    __shared__ double board[THREADS / 32];
    const int pitch = (d + 1) | 1;  // odd: neither rows nor columns meet in a bank
    double *weights = shared, *predictors = weights + d * K, *slopes = predictors + ROWS * K;
    T* tile = reinterpret_cast<T*>(slopes + ROWS * K);
    const int i = threadIdx.x / PARTS, part = threadIdx.x % PARTS, column = threadIdx.x % WIDTH;
    const i64 low = share_of(n, blockIdx.x, gridDim.x), high = share_of(n, blockIdx.x + 1, gridDim.x);
    double g[COLUMNS][K], value = 0.0;
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c)
#pragma unroll
        for (int k = 0; k < K; ++k) g[c][k] = 0.0;
    if (MODE != TRANSPOSED)
        for (int e = threadIdx.x; e < d * K; e += THREADS) weights[e] = w[(e % K) * d + e / K];
    for (i64 start = low; start < high; start += ROWS) {
        fill(tile, pitch, X, stride, start, high, d);
        const i64 row = start + i;
        const bool live = row < high, speaks = live && part == 0;
        double u[K];  // predictors, then slopes
#pragma unroll
        for (int k = 0; k < K; ++k) u[k] = 0.0;
        if (MODE == TRANSPOSED) {
            if (speaks)
#pragma unroll
                for (int k = 0; k < K; ++k) u[k] = a[row * K + k];
        } else {
            for (int j = part; j < d; j += PARTS) {
                const double x = tile[i * pitch + j];
#pragma unroll
                for (int k = 0; k < K; ++k) u[k] += x * weights[j * K + k];
            }
#pragma unroll
            for (int k = 0; k < K; ++k) u[k] = lanes_sum<PARTS>(u[k]) + b[k];
            if (speaks && MODE != NORMAL)
#pragma unroll
                for (int k = 0; k < K; ++k) z[row * K + k] = u[k];
        }
        if (MODE == SOFTMAX) {
            if (part == 0)
#pragma unroll
                for (int k = 0; k < K; ++k) predictors[i * K + k] = u[k];
            __syncwarp();
            const double loss = softmax_row<PARTS>(predictors + i * K, K, reference, live ? (int)a[row] : 0,
                                                   live ? weight_of(s, one_weight, row) : 0.0, part, live,
                                                   curvature + row * K, slopes + i * K);
            if (speaks) value += loss;
            if (!live)
                for (int k = part; k < K; k += PARTS) slopes[i * K + k] = 0.0;
        } else if (MODE == LOGISTIC || MODE == SQUARED) {
            if (part == 0) slopes[i] = 0.0;
            if (speaks) {
                const double weight = weight_of(s, one_weight, row);
                const Row found =
                    MODE == LOGISTIC ? Logistic::at(a[row], u[0], weight) : Squared::at(a[row], u[0], weight);
                slopes[i] = found.slope;
                curvature[row] = found.bend;
                value += found.loss;
            }
        } else if (MODE != LINEAR && part == 0) {
            if (MODE == NORMAL && live) {
                double mean = 0.0;
                if (K > 1)
#pragma unroll
                    for (int k = 0; k < K; ++k) mean += a[row * K + k] * u[k];
                const double weight = K > 1 ? weight_of(s, one_weight, row) : 1.0;
#pragma unroll
                for (int k = 0; k < K; ++k) u[k] = weight * a[row * K + k] * (u[k] - mean);
            }
#pragma unroll
            for (int k = 0; k < K; ++k) slopes[i * K + k] = live ? u[k] : 0.0;
        }
        __syncthreads();
        if (MODE != LINEAR) {
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                const int j = column + c * WIDTH;
                if (j <= d)
                    for (int t = threadIdx.x / WIDTH; t < ROWS; t += SHARES) {
                        const double x = tile[t * pitch + j];
#pragma unroll
                        for (int k = 0; k < K; ++k) g[c][k] += slopes[t * K + k] * x;
                    }
            }
            __syncthreads();
        }
    }
    if (MODE == LINEAR) return;
    const i64 slots = gridDim.x;
    value = block_sum(value, board);
    if (threadIdx.x == 0) partial[(i64)K * (d + 1) * slots + blockIdx.x] = value;
    const int held = K * (d + 1);  // the shares of a column meet in shared memory
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        const int j = column + c * WIDTH;
        if (j <= d)
#pragma unroll
            for (int k = 0; k < K; ++k) shared[(threadIdx.x / WIDTH) * held + k * (d + 1) + j] = g[c][k];
    }
    __syncthreads();
    for (int e = threadIdx.x; e < held; e += THREADS) {
        double sum = 0.0;
        for (int share = 0; share < SHARES; ++share) sum += shared[share * held + e];
        partial[e * slots + blockIdx.x] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    linear(const T* X, i64 stride, i64 n, int d, const double* w, const double* b, double* z) {
    pass<LINEAR>(X, stride, n, d, nullptr, nullptr, 1, w, b, 0, z, nullptr, nullptr);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    transposed(const T* X, i64 stride, i64 n, int d, const double* r, double* partial) {
    pass<TRANSPOSED>(X, stride, n, d, r, nullptr, 1, nullptr, nullptr, 0, nullptr, nullptr, partial);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    normal(const T* X, i64 stride, i64 n, int d, const double* a, const double* s, int one_weight,
           const double* w, const double* b, double* partial) {
    pass<NORMAL>(X, stride, n, d, a, s, one_weight, w, b, 0, nullptr, nullptr, partial);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    logistic(const T* X, i64 stride, i64 n, int d, const double* y, const double* s, int one_weight,
             const double* w, const double* b, int reference, double* z, double* h, double* partial) {
    pass<K == 1 ? LOGISTIC : SOFTMAX>(X, stride, n, d, y, s, one_weight, w, b, reference, z, h, partial);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    squared(const T* X, i64 stride, i64 n, int d, const double* y, const double* s, int one_weight,
            const double* w, const double* b, int reference, double* z, double* h, double* partial) {
    pass<SQUARED>(X, stride, n, d, y, s, one_weight, w, b, reference, z, h, partial);
}
