// Losses of one row in double precision. The same stable forms as in `reference`: nothing overflows or cancels for
// any finite z, also where the loss is far below the rounding of 1.

// What a pass over X is for: z; X' r; the product with the Hessian; or value and gradient of a loss.
enum Mode { LINEAR, TRANSPOSED, NORMAL, SQUARED, LOGISTIC, SOFTMAX };

struct Row {
    double loss, slope, bend;  // s l, s l', s l''
};

struct Logistic {
    // l = log(1 + e^z) - y z for y in [0, 1]
    __device__ static inline Row at(double y, double z, double s) {
        const double size = fabs(z), e = exp(-size);
        const double near = 1.0 / (1.0 + e), far = e * near;
        const bool up = z >= 0.0;
        const double p = up ? near : far, q = up ? far : near;
        const double wrong = up ? 1.0 - y : y;
        return {s * (wrong * size + log1p(e)), s * ((1.0 - y) * p - y * q), s * (p * q)};
    }
};

struct Squared {
    // l = (z - y)^2 / 2
    __device__ static inline Row at(double y, double z, double s) {
        const double gap = z - y;
        return {0.5 * s * gap * gap, s * gap, s};
    }
};

// Softmax over the K values z[0], z[1], .. of a row, worked off by L adjacent lanes; `lane` is this one's place among
// them. With `reference` there is one class more, K, whose z is 0. Writes the probabilities to P and s dl/dz to r (both
// of K values) and returns s l, to every lane. The sums leave out the largest class (for l) and the true one (for the
// gradient), so that a loss far below the rounding of 1 keeps its relative accuracy. Where `live` is false nothing is
// written: the lanes only take part in the exchanges.
template <int L>
__device__ inline double softmax_row(const double* z, int K, int reference, int truth, double s, int lane, bool live,
                                     double* P, double* r) {
    double top = reference ? 0.0 : -1.7976931348623157e308;
    int where = K;
    for (int k = lane; k < K; k += L)
        if (z[k] > top) {
            top = z[k];
            where = k;
        }
#pragma unroll
    for (int step = L / 2; step > 0; step /= 2) {
        const double other = __shfl_xor_sync(ALL_LANES, top, step);
        const int place = __shfl_xor_sync(ALL_LANES, where, step);
        if (other > top || (other == top && place < where)) {
            top = other;
            where = place;
        }
    }
    double others = 0.0, wrong = 0.0;
    for (int k = lane; k < K; k += L) {
        const double e = exp(z[k] - top);
        if (live) P[k] = e;
        others += k == where ? 0.0 : e;
        wrong += k == truth ? 0.0 : e;
    }
    others = lanes_sum<L>(others);
    wrong = lanes_sum<L>(wrong);
    if (reference) {
        const double last = exp(-top);
        others += where == K ? 0.0 : last;
        wrong += truth == K ? 0.0 : last;
    }
    const double inverse = 1.0 / (1.0 + others);
    const double loss = s * (log1p(others) + (top - (truth < K ? z[truth] : 0.0)));
    if (live)
        for (int k = lane; k < K; k += L) {
            P[k] *= inverse;
            r[k] = k == truth ? -s * wrong * inverse : s * P[k];
        }
    return loss;
}
