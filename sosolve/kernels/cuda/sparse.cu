// Products of a CSR matrix with one or several vectors. X' r is the product of the CSR form of X', so that no sum
// needs atomics. Rows are cut into pieces of limited length, which balances the work where a column is dense.
//
// The loader puts before it: T (float, double), INT (type of the indices), L (lanes on a piece, a power of two <= 32).
#include "common.cuh"

// out[p] = sum over the entries e of piece p of value[e] x[index[e]] + constant[0], for one vector x.
extern "C" __global__ void __launch_bounds__(THREADS)
    product(const T* value, const INT* index, const i64* edge, i64 pieces, const double* x, const double* constant,
            double* out) {
    const int lane = threadIdx.x % L;
    constexpr int AT_ONCE = THREADS / L;
    const double shift = constant ? constant[0] : 0.0;
    for (i64 start = (i64)blockIdx.x * AT_ONCE; start < pieces; start += (i64)gridDim.x * AT_ONCE) {
        const i64 p = start + threadIdx.x / L;
        double sum = 0.0;
        if (p < pieces)
            for (i64 e = edge[p] + lane; e < edge[p + 1]; e += L) sum += (double)value[e] * x[index[e]];
        sum = lanes_sum<L>(sum);
        if (p < pieces && lane == 0) out[p] = sum + shift;
    }
}

// The same for the K columns of x, (rows, K) in C order: out (pieces, K). The lanes run over the columns.
extern "C" __global__ void __launch_bounds__(THREADS)
    product_k(const T* value, const INT* index, const i64* edge, i64 pieces, const double* x, int K,
              const double* constant, double* out) {
    const int lane = threadIdx.x % L;
    constexpr int AT_ONCE = THREADS / L;
    for (i64 p = (i64)blockIdx.x * AT_ONCE + threadIdx.x / L; p < pieces; p += (i64)gridDim.x * AT_ONCE)
        for (int k = lane; k < K; k += L) {
            double sum = constant ? constant[k] : 0.0;
            for (i64 e = edge[p]; e < edge[p + 1]; ++e) sum += (double)value[e] * x[(i64)index[e] * K + k];
            out[p * K + k] = sum;
        }
}

// The same with squared entries, for diagonals: sum of (value[e] / unit[p])^2 x[index[e]].
extern "C" __global__ void __launch_bounds__(THREADS)
    squared_product_k(const T* value, const INT* index, const i64* edge, i64 pieces, const double* x, int K,
                      const double* unit, double* out) {
    const int lane = threadIdx.x % L;
    constexpr int AT_ONCE = THREADS / L;
    for (i64 p = (i64)blockIdx.x * AT_ONCE + threadIdx.x / L; p < pieces; p += (i64)gridDim.x * AT_ONCE) {
        const double inverse = 1.0 / unit[p];
        for (int k = lane; k < K; k += L) {
            double sum = 0.0;
            for (i64 e = edge[p]; e < edge[p + 1]; ++e) {
                const double scaled = (double)value[e] * inverse;
                sum += scaled * scaled * x[(i64)index[e] * K + k];
            }
            out[p * K + k] = sum;
        }
    }
}

// out[p] = the largest |value[e]| of the entries e of piece p, 0 where there is none; NaN where one is NaN.
extern "C" __global__ void __launch_bounds__(THREADS)
    largest(const T* value, const i64* edge, i64 pieces, double* out) {
    const int lane = threadIdx.x % L;
    constexpr int AT_ONCE = THREADS / L;
    for (i64 start = (i64)blockIdx.x * AT_ONCE; start < pieces; start += (i64)gridDim.x * AT_ONCE) {
        const i64 p = start + threadIdx.x / L;
        double top = 0.0, check = 0.0;
        if (p < pieces)
            for (i64 e = edge[p] + lane; e < edge[p + 1]; e += L) {
                const double entry = value[e];
                top = fmax(top, fabs(entry));
                check += entry != entry ? entry : 0.0;
            }
        top = lanes_max<L>(top);
        check = lanes_sum<L>(check);
        if (p < pieces && lane == 0) out[p] = check == check ? top : check;
    }
}

// Adds the pieces of each column, or takes the largest of them: out (columns, K).
extern "C" __global__ void __launch_bounds__(THREADS)
    join_pieces(const double* parts, const i64* first, i64 columns, int K, int largest, double* out) {
    for (i64 t = (i64)blockIdx.x * THREADS + threadIdx.x; t < columns * K; t += (i64)gridDim.x * THREADS) {
        const i64 j = t / K;
        double sum = 0.0;
        for (i64 p = first[j]; p < first[j + 1]; ++p) {
            const double part = parts[p * K + t % K];
            sum = largest ? (part > sum || part != part ? part : sum) : sum + part;
        }
        out[t] = sum;
    }
}
