// The kernels of a pass for one output, after the file that has defined `pass`, T and RESIDENT.
//
// X: (n, d) with `stride` entries from row to row, or from column to column, as that file reads it. w: (d,), b: (1,).
// z: predictors. y and s: as the loss takes them. h: what multiplies the predictors in `normal`; the bends of the
// losses. partial: one slot for each block.

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    linear(const T* X, i64 stride, i64 n, int d, const double* w, const double* b, double* z) {
    pass<LINEAR>(X, stride, n, d, nullptr, nullptr, 1, w, b, z, nullptr, nullptr);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    transposed(const T* X, i64 stride, i64 n, int d, const double* r, double* partial) {
    pass<TRANSPOSED>(X, stride, n, d, r, nullptr, 1, nullptr, nullptr, nullptr, nullptr, partial);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    normal(const T* X, i64 stride, i64 n, int d, const double* h, const double* w, const double* b, double* partial) {
    pass<NORMAL>(X, stride, n, d, h, nullptr, 1, w, b, nullptr, nullptr, partial);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    squared(const T* X, i64 stride, i64 n, int d, const double* y, const double* s, int one_weight,
            const double* w, const double* b, double* z, double* h, double* partial) {
    pass<SQUARED>(X, stride, n, d, y, s, one_weight, w, b, z, h, partial);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    logistic(const T* X, i64 stride, i64 n, int d, const double* y, const double* s, int one_weight,
             const double* w, const double* b, double* z, double* h, double* partial) {
    pass<LOGISTIC>(X, stride, n, d, y, s, one_weight, w, b, z, h, partial);
}
