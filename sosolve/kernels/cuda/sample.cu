// Losses and curvatures in sample space, and the sums over slots that end every pass.
//
// The loader puts before it: L, lanes on one row of the softmax kernels (a power of two, at most 32).
#include "common.cuh"
#include "losses.cuh"

// out[j] = sum over the slots of row j, one block for each row.
extern "C" __global__ void __launch_bounds__(THREADS) add_partials(const double* partial, i64 slots, double* out) {
    __shared__ double shared[THREADS / 32];
    const double* row = partial + (i64)blockIdx.x * slots;
    double sum = 0.0;
    for (i64 k = threadIdx.x; k < slots; k += THREADS) sum += row[k];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

template <class Loss>
__device__ inline void loss_pass(const double* y, const double* z, const double* s, int one_weight, i64 n, double* r,
                                 double* h, double* partial) {
    __shared__ double shared[THREADS / 32];
    double value = 0.0;
    for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (i64)gridDim.x * THREADS) {
        const Row found = Loss::at(y[i], z[i], weight_of(s, one_weight, i));
        r[i] = found.slope;
        h[i] = found.bend;
        value += found.loss;
    }
    value = block_sum(value, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = value;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    logistic_sample(const double* y, const double* z, const double* s, int one_weight, i64 n, double* r, double* h,
                    double* partial) {
    loss_pass<Logistic>(y, z, s, one_weight, n, r, h, partial);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    squared_sample(const double* y, const double* z, const double* s, int one_weight, i64 n, double* r, double* h,
                   double* partial) {
    loss_pass<Squared>(y, z, s, one_weight, n, r, h, partial);
}

// z, P and r are (n, K) in C order.
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_sample(const double* y, const double* z, const double* s, int one_weight, i64 n, int K, int reference,
                   double* r, double* P, double* partial) {
    __shared__ double shared[THREADS / 32];
    constexpr int AT_ONCE = THREADS / L;
    const int lane = threadIdx.x % L;
    double value = 0.0;
    for (i64 start = (i64)blockIdx.x * AT_ONCE; start < n; start += (i64)gridDim.x * AT_ONCE) {
        const i64 i = start + threadIdx.x / L;
        const bool live = i < n;
        const i64 row = live ? i : start;  // lanes without a row of their own follow the first of the batch
        const double loss = softmax_row<L>(z + row * K, K, reference, (int)y[row], weight_of(s, one_weight, row), lane,
                                           live, P + row * K, r + row * K);
        if (live && lane == 0) value += loss;
    }
    value = block_sum(value, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = value;
}

// out = s (P u - P (P . u)) row by row; out may be U itself.
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_curvature(const double* P, const double* s, int one_weight, const double* U, i64 n, int K, double* out) {
    constexpr int AT_ONCE = THREADS / L;
    const int lane = threadIdx.x % L;
    for (i64 start = (i64)blockIdx.x * AT_ONCE; start < n; start += (i64)gridDim.x * AT_ONCE) {
        const i64 i = start + threadIdx.x / L;
        const bool live = i < n;
        double mean = 0.0;
        if (live)
            for (int k = lane; k < K; k += L) mean += P[i * K + k] * U[i * K + k];
        mean = lanes_sum<L>(mean);
        if (live) {
            const double weight = weight_of(s, one_weight, i);
            for (int k = lane; k < K; k += L) out[i * K + k] = weight * P[i * K + k] * (U[i * K + k] - mean);
        }
    }
}
