// What every kernel shares: names, sums over threads in a fixed order, weights that may all be the same.
//
// No atomics on sums anywhere: each block writes its partial results to a slot of its own and `add_partials` adds the
// slots in an order that depends on their number alone, so that a result has the same bits in every run.

typedef long long i64;

#define ALL_LANES 0xffffffffu
#define THREADS 256

#ifndef DYNAMIC_SHARED  // the host's emulation brings its own
#define DYNAMIC_SHARED(name) extern __shared__ double name[]
#endif

// First row of a block's share of n rows; n times the number of blocks stays far below 2^63.
__device__ inline i64 share_of(i64 n, unsigned block, unsigned blocks) { return n * block / blocks; }

__device__ inline double weight_of(const double* s, int one_weight, i64 i) { return s[one_weight ? 0 : i]; }

// Sum over L adjacent lanes (a power of two, at most 32); each of them gets it.
template <int L>
__device__ inline double lanes_sum(double v) {
#pragma unroll
    for (int step = L / 2; step > 0; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
    return v;
}

template <int L>
__device__ inline double lanes_max(double v) {
#pragma unroll
    for (int step = L / 2; step > 0; step /= 2) v = fmax(v, __shfl_xor_sync(ALL_LANES, v, step));
    return v;
}

// R values in each of L lanes, R <= L powers of two: lane l gets the sum over the lanes of value l / (L / R).
// Each exchange halves the number of values a lane still carries: R - 1 + log2(L / R) shuffles instead of R log2(L).
// HALF values are kept of those a lane carries; as a recursion, since loops this deep are not always unrolled.
template <int STEP, int HALF, int R>
__device__ inline void exchange_halves(double (&v)[R], int lane) {
    if constexpr (HALF > 0) {
        const bool upper = lane & STEP;
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            const double sent = upper ? v[i] : v[i + HALF];
            const double kept = upper ? v[i + HALF] : v[i];
            v[i] = kept + __shfl_xor_sync(ALL_LANES, sent, STEP);
        }
        exchange_halves<STEP / 2, HALF / 2>(v, lane);
    }
}

template <int L, int R>
__device__ inline double lanes_transposed_sum(double (&v)[R], int lane) {
    exchange_halves<L / 2, R / 2>(v, lane);
    return lanes_sum<L / R>(v[0]);
}

// Sum over the threads of a block; thread 0 gets it. `shared` holds THREADS / 32 doubles.
__device__ inline double block_sum(double v, double* shared) {
    const double warp = lanes_sum<32>(v);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = warp;
    __syncthreads();
    double total = 0.0;
    if (threadIdx.x == 0)
        for (int k = 0; k < THREADS / 32; ++k) total += shared[k];
    __syncthreads();
    return total;
}
