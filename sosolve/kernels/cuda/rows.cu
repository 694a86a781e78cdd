// One output and X in C order: a pass that reads X once, from memory to registers.
//
// SPAN adjacent lanes share a row; lane p of them holds C packs of V neighbouring columns, with its part of w and of
// the gradient in registers. A group of lanes takes R rows at a time, which are all loaded before the first is used:
// that keeps enough bytes under way to saturate the memory. The R inner products are summed over the lanes by
// exchanging halves, after which each lane holds the predictor of one row, evaluates its loss in double precision, and
// hands the row's slope back to the lanes that still hold the row. For wide X a whole block (TEAM = 8 warps) shares a
// row.
//
// The loader puts before it: T (float, double), V, C, R, L (lanes of a warp on a row), TEAM (warps on a row).
#include "common.cuh"
#include "losses.cuh"

constexpr int WARPS = THREADS / 32, SPAN = L * TEAM, GROUPS = THREADS / SPAN, PER_ROW = L / R;
// Two blocks on a multiprocessor where the registers suffice: the loads of one overlap the arithmetic of the other.
constexpr int RESIDENT = C * V <= 4 ? 2 : 1;
static_assert(TEAM == 1 || (TEAM == WARPS && L == 32), "a row belongs to part of a warp or to the whole block");
static_assert(R <= L, "each row of a batch needs a lane of its own");

struct alignas(V * sizeof(T)) Pack {
    T at[V];
};

// a: y of the losses, h of NORMAL, r of TRANSPOSED. partial: d + 2 rows (gradient, sum of slopes, value) of one slot
// for each block.
template <int MODE>
__device__ inline void pass(const T* __restrict__ X, i64 stride, i64 n, int d, const double* __restrict__ a,
                            const double* __restrict__ s, int one_weight, const double* __restrict__ w,
                            const double* __restrict__ b, double* __restrict__ z, double* __restrict__ h,
                            double* __restrict__ partial) {
    DYNAMIC_SHARED(shared);
    const int place = threadIdx.x % SPAN, group = threadIdx.x / SPAN, lane = threadIdx.x % L, warp = threadIdx.x / 32;
    const int mine = lane / PER_ROW;  // the row of the batch whose predictor ends up in this lane
    const bool speaks = lane % PER_ROW == 0 && (TEAM == 1 || warp == 0);
    const i64 low = share_of(n, blockIdx.x, gridDim.x), high = share_of(n, blockIdx.x + 1, gridDim.x);
    const double constant = MODE == TRANSPOSED ? 0.0 : b[0];
    double part[C][V], g[C][V], value = 0.0, total = 0.0;
#pragma unroll
    for (int c = 0; c < C; ++c)
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const int column = (c * SPAN + place) * V + v;
            part[c][v] = MODE != TRANSPOSED && column < d ? w[column] : 0.0;
            g[c][v] = 0.0;
        }
    int parity = 0;
    for (i64 start = low; start < high; start += GROUPS * R) {  // the same number of rounds for all threads
        const i64 first = start + group * R;
        Pack x[R][C];
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int c = 0; c < C; ++c) {
                const int column = (c * SPAN + place) * V;
                if (first + i < high && column < d)
                    x[i][c] = *reinterpret_cast<const Pack*>(X + (first + i) * stride + column);
                else
                    x[i][c] = Pack{};
            }
        const i64 row = first + mine;
        const bool live = row < high;
        // under way together with X: a wait for them after the exchanges would cost as much as one for X
        const double given = MODE != LINEAR && live ? a[row] : 0.0;
        const double weight = (MODE == LOGISTIC || MODE == SQUARED) && live ? weight_of(s, one_weight, row) : 0.0;
        double r = 0.0;
        if (MODE != TRANSPOSED) {
            double sums[R];
#pragma unroll
            for (int i = 0; i < R; ++i) {
                sums[i] = 0.0;
#pragma unroll
                for (int c = 0; c < C; ++c)
#pragma unroll
                    for (int v = 0; v < V; ++v) sums[i] += (double)x[i][c].at[v] * part[c][v];
            }
            double predictor = lanes_transposed_sum<L, R>(sums, lane);
            if (TEAM > 1) {  // two buffers in turn: one barrier a round
                double* board = shared + parity * WARPS * R;
                if (lane % PER_ROW == 0) board[warp * R + mine] = predictor;
                __syncthreads();
                predictor = 0.0;
                for (int k = 0; k < WARPS; ++k) predictor += board[k * R + mine];
                parity ^= 1;
            }
            predictor += constant;
            if (MODE == LINEAR) {
                if (speaks && live) z[row] = predictor;
            } else if (MODE == NORMAL) {
                r = given * predictor;
            } else if (live) {
                const Row found = MODE == LOGISTIC ? Logistic::at(given, predictor, weight)
                                                   : Squared::at(given, predictor, weight);
                r = found.slope;
                if (speaks) {
                    z[row] = predictor;
                    h[row] = found.bend;
                    value += found.loss;
                }
            }
        } else {
            r = given;
        }
        if (MODE != LINEAR) {
            if (speaks) total += r;
#pragma unroll
            for (int i = 0; i < R; ++i) {
                const double slope = __shfl_sync(ALL_LANES, r, i * PER_ROW, L);
#pragma unroll
                for (int c = 0; c < C; ++c)
#pragma unroll
                    for (int v = 0; v < V; ++v) g[c][v] += slope * (double)x[i][c].at[v];
            }
        }
    }
    if (MODE == LINEAR) return;
    const unsigned blocks = gridDim.x;
    total = lanes_sum<L>(total);
    value = lanes_sum<L>(value);
    __syncthreads();  // the boards have been read
#pragma unroll
    for (int c = 0; c < C; ++c)
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const int column = (c * SPAN + place) * V + v;
            if (column < d) shared[group * (d + 2) + column] = g[c][v];
        }
    if (place == 0) {
        shared[group * (d + 2) + d] = total;
        shared[group * (d + 2) + d + 1] = value;
    }
    __syncthreads();
    for (int column = threadIdx.x; column < d + 2; column += THREADS) {
        double sum = 0.0;
        for (int k = 0; k < GROUPS; ++k) sum += shared[k * (d + 2) + column];
        partial[(i64)column * blocks + blockIdx.x] = sum;
    }
}

#include "one_output.cuh"
