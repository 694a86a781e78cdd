// One output and X in F order: a pass that reads X once, from memory to registers.
//
// A block takes 32 Q V rows at a time. Warp k holds their columns k, k + 8, ..: a lane has C columns of Q packs of V
// neighbouring rows in registers, all loaded before the first is used. A lane's inner products run along its columns, so
// that no lane has to exchange anything; the warps' parts of a predictor meet in shared memory, each row's loss is
// evaluated by one thread, and the slopes come back through shared memory to the lanes that still hold the rows.
//
// The loader puts before it: T (float, double), V, C, Q.
#include "common.cuh"
#include "losses.cuh"

constexpr int WARPS = THREADS / 32, ROWS = 32 * Q * V, EACH = (ROWS + THREADS - 1) / THREADS;
// Two blocks on a multiprocessor where the registers suffice: the loads of one overlap the arithmetic of the other.
constexpr int RESIDENT = C <= 16 ? 2 : 1;

struct alignas(V * sizeof(T)) Pack {
    T at[V];
};

// Makes the compiler forget what it has derived from a number: to convert an entry to double precision once more, or to
// form an address anew, is cheaper than to keep it, for which there are not enough registers.
#ifdef __CUDA_ARCH__
__device__ inline void forget(float& number) { asm volatile("" : "+f"(number)); }
__device__ inline void forget(i64& number) { asm volatile("" : "+l"(number)); }
#else
__device__ inline void forget(float&) {}
__device__ inline void forget(i64&) {}
#endif
__device__ inline void forget(double&) {}

// a: y of the losses, h of NORMAL, r of TRANSPOSED. partial: d + 2 rows (gradient, sum of slopes, value) of one slot
// for each block. stride: from column to column.
template <int MODE>
__device__ inline void pass(const T* __restrict__ X, i64 stride, i64 n, int d, const double* __restrict__ a,
                            const double* __restrict__ s, int one_weight, const double* __restrict__ w,
                            const double* __restrict__ b, double* __restrict__ z, double* __restrict__ h,
                            double* __restrict__ partial) {
    DYNAMIC_SHARED(shared);
    double *weights = shared, *board = weights + C * WARPS, *slopes = board + WARPS * ROWS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 packs = (n + V - 1) / V;  // shares begin with a whole pack
    const i64 low = share_of(packs, blockIdx.x, gridDim.x) * V, end = share_of(packs, blockIdx.x + 1, gridDim.x) * V;
    const i64 high = end < n ? end : n;
    const double constant = MODE == TRANSPOSED ? 0.0 : b[0];
    double g[C], value = 0.0, total = 0.0;
    i64 step = WARPS * stride;
#pragma unroll
    for (int c = 0; c < C; ++c) g[c] = 0.0;
    if (MODE != TRANSPOSED) {
        for (int j = threadIdx.x; j < C * WARPS; j += THREADS) weights[j] = j < d ? w[j] : 0.0;
        __syncthreads();
    }
    for (i64 start = low; start < high; start += ROWS) {
        Pack x[C][Q];
        forget(step);
        const T* from = X + warp * stride + start + lane * V;
#pragma unroll
        for (int c = 0; c < C; ++c, from += step)
#pragma unroll
            for (int q = 0; q < Q; ++q) {
                const i64 row = start + (q * 32 + lane) * V;
                const int column = c * WARPS + warp;
                x[c][q] = Pack{};
                if (column < d && row + V <= high)
                    x[c][q] = *reinterpret_cast<const Pack*>(from + q * 32 * V);
                else if (column < d && V > 1)
#pragma unroll
                    for (int v = 0; v < V - 1; ++v)
                        if (row + v < high) x[c][q].at[v] = from[q * 32 * V + v];
            }
        double given[EACH], weight[EACH];  // under way together with X
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
            const int place = e * THREADS + threadIdx.x;
            const bool live = place < ROWS && start + place < high;
            given[e] = MODE != LINEAR && live ? a[start + place] : 0.0;
            weight[e] = (MODE == LOGISTIC || MODE == SQUARED) && live ? weight_of(s, one_weight, start + place) : 0.0;
        }
        if (MODE != TRANSPOSED)
#pragma unroll
            for (int q = 0; q < Q; ++q)
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    double sum = 0.0;
#pragma unroll
                    for (int c = 0; c < C; ++c) sum += (double)x[c][q].at[v] * weights[c * WARPS + warp];
                    board[warp * ROWS + (q * 32 + lane) * V + v] = sum;
                }
        __syncthreads();  // the parts are there, and the slopes of the rows before have been read
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
            const int place = e * THREADS + threadIdx.x;
            const i64 row = start + place;
            if (place >= ROWS) continue;
            const bool live = row < high;
            double predictor = constant, r = given[e];
            if (MODE != TRANSPOSED)
#pragma unroll
                for (int k = 0; k < WARPS; ++k) predictor += board[k * ROWS + place];
            if (MODE == LINEAR) {
                if (live) z[row] = predictor;
            } else if (MODE == NORMAL) {
                r = live ? given[e] * predictor : 0.0;
            } else if (MODE != TRANSPOSED && live) {
                const Row found = MODE == LOGISTIC ? Logistic::at(given[e], predictor, weight[e])
                                                   : Squared::at(given[e], predictor, weight[e]);
                z[row] = predictor;
                h[row] = found.bend;
                value += found.loss;
                r = found.slope;
            }
            if (MODE != LINEAR) {
                slopes[place] = r;
                total += r;
            }
        }
        __syncthreads();
        if (MODE != LINEAR)
#pragma unroll
            for (int q = 0; q < Q; ++q)
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    const double slope = slopes[(q * 32 + lane) * V + v];
#pragma unroll
                    for (int c = 0; c < C; ++c) {
                        forget(x[c][q].at[v]);
                        g[c] += slope * (double)x[c][q].at[v];
                    }
                }
    }
    if (MODE == LINEAR) return;
    const i64 blocks = gridDim.x;
    __syncthreads();
    total = block_sum(total, shared);
    value = block_sum(value, shared);
    if (threadIdx.x == 0) {
        partial[d * blocks + blockIdx.x] = total;
        partial[(d + 1) * blocks + blockIdx.x] = value;
    }
#pragma unroll
    for (int c = 0; c < C; ++c) {
        const double sum = lanes_sum<32>(g[c]);
        const int column = c * WARPS + warp;
        if (lane == 0 && column < d) partial[column * blocks + blockIdx.x] = sum;
    }
}

#include "one_output.cuh"
