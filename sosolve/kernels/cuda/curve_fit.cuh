// One curve fit by Levenberg-Marquardt: the algorithm of `curves/batch_fit.py` and `batch_steps.py`, step by step, in
// the registers of a thread (TEAM 1), or of 32 lanes that hold the same numbers and share the points (TEAM 32).
//
// Put before it: NP, ND (parameters, predictors), TEAM, BOX (whether a parameter is bounded) and the model,
//     double sosolve_row(const double* x, const double* p, double* J)
// which returns f and writes df/dp. Symmetric matrices are packed by rows of their lower half.
//
// One deviation from the processor: QR takes up the rows of J one by one with Givens rotations (Golub and Van Loan,
// Matrix Computations, 2013, 5.1.8), since no thread has room for all of them; R is the same up to signs.
#include "common.cuh"

constexpr int PAIRS = NP * (NP + 1) / 2, SUMS = PAIRS + NP;  // J'J; J'J and J'r
constexpr int UNROLLED = NP <= 8 ? NP : 1;                   // loops over few parameters keep them in registers

#ifdef __CUDACC__  // a function of its own, of which there is one copy and which takes no registers from its caller
#define RARE __noinline__
#else
#define RARE inline
#endif

constexpr double EPS = 2.220446049250313e-16;

enum Status { GTOL = 1, FTOL = 2, XTOL = 3, EXACT = 4, MAX_ITER = 0, STALLED = -1, TOO_FEW_POINTS = -2, BAD_DATA = -3,
              BAD_START = -4 };

// As in batch_fit.py and batch_covariance.py, where each is explained.
constexpr double MU_0 = 1e-3, BOLD = 100.0, SURE = 0.1, ACCEPT = 1e-4, LEAST = 1e-18, DOUBT = 1e-5, LIKELY = 1e-12,
                 WEAK = 1e-8, WELL = 1e-7, RANK = 1e-12, SHARE = 1e-6, DROWNED = 1e-13;

struct Settings {
    int max_iter;
    double ftol, xtol, gtol;
    int plain;  // D is the same for all parameters, and constant
};

// The points of one fit; entry e of an array is at e times its step. s is null where all weights are 1.
struct Points {
    const double *x, *y, *s;
    i64 x_step, y_step, s_step;
    i64 rows;  // points, those of weight 0 among them
    double c;  // the factor that gives s y the size 1
    int n;     // points of another weight

    __device__ double weight(i64 i) const { return s ? s[i * s_step] : 1.0; }
};

struct Fit {
    double params[NP], trial[NP], lower[NP], upper[NP], scale[NP], h[NP];
    double sums[SUMS];  // J'J and J'r at params
    double cost, mu, nu, least;
    bool held[NP];
    int by_qr, status, n_iter, n_passes;
};

__device__ inline double infinite() { return -log(0.0); }
__device__ inline double missing() { return sqrt(-1.0); }
__device__ inline double clamped(double v, double low, double high) { return v < low ? low : v > high ? high : v; }
__device__ inline int entry(int i, int j) { return i >= j ? i * (i + 1) / 2 + j : j * (j + 1) / 2 + i; }

// Loads point i, writes its weighted row of J and returns its weighted residual. Only for weights that are not 0.
__device__ inline double row_at(const Points& points, i64 i, double weight, const double* params, double* J) {
    double x[ND];
    for (int j = 0; j < ND; ++j) x[j] = points.x[(i * ND + j) * points.x_step];
    const double e = points.c * weight, f = sosolve_row(x, params, J);
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) J[k] *= e;
    return e * (f - points.y[i * points.y_step]);
}

// The share of points first, first + every, .. in F (returned), J'J and J'r.
__device__ inline double share_of_sums(const Points& points, const double* params, i64 first, i64 every, double* sums) {
    double cost = 0.0;
#pragma unroll
    for (int k = 0; k < SUMS; ++k) sums[k] = 0.0;
    for (i64 i = first; i < points.rows; i += every) {
        const double weight = points.weight(i);
        if (weight == 0.0) continue;
        double J[NP];
        const double r = row_at(points, i, weight, params, J);
        cost += r * r;
#pragma unroll UNROLLED
        for (int a = 0; a < NP; ++a) {
#pragma unroll UNROLLED
            for (int b = 0; b <= a; ++b) sums[a * (a + 1) / 2 + b] += J[a] * J[b];
            sums[PAIRS + a] += J[a] * r;
        }
    }
    return cost;
}

// F, J'J and J'r over all points, in every lane the same bits.
__device__ inline double pass(const Points& points, const double* params, double* sums) {
    const double cost = share_of_sums(points, params, threadIdx.x % TEAM, TEAM, sums);
#pragma unroll
    for (int k = 0; k < SUMS; ++k) sums[k] = lanes_sum<TEAM>(sums[k]);
    return lanes_sum<TEAM>(cost);
}

// cost, or inf where anything is not finite.
__device__ inline double checked(double cost, const double* sums) {
    double check = cost * 0.0;
#pragma unroll
    for (int k = 0; k < SUMS; ++k) check += sums[k] * 0.0;
    return check == 0.0 ? cost : infinite();
}

__device__ inline double evaluate(const Points& points, const double* params, double* sums) {
    const double cost = pass(points, params, sums);
    return checked(cost, sums);
}

// ---------------------------------------------------------------------- small linear algebra

// Factorises the leading q x q block of a packed matrix in place, A = L L', the diagonal of L inverted; returns the
// least squared pivot, 0 where one is not positive. U: loops are unrolled so many times.
template <int U>
__device__ inline double cholesky(double* A, int q) {
    double least = infinite();
#pragma unroll U
    for (int j = 0; j < q; ++j) {
        const int at = j * (j + 1) / 2;
        double pivot = A[at + j];
#pragma unroll U
        for (int k = 0; k < j; ++k) pivot -= A[at + k] * A[at + k];
        if (!(pivot > 0.0)) return 0.0;
        least = fmin(least, pivot);
        const double scale = 1.0 / sqrt(pivot);
        A[at + j] = scale;
#pragma unroll U
        for (int i = j + 1; i < q; ++i) {
            const int to = i * (i + 1) / 2;
            double t = A[to + j];
#pragma unroll U
            for (int k = 0; k < j; ++k) t -= A[to + k] * A[at + k];
            A[to + j] = t * scale;
        }
    }
    return least;
}

// Overwrites z by the solution of A z = z, A factorised by `cholesky`.
template <int U>
__device__ inline void cholesky_solve(const double* A, int q, double* z) {
#pragma unroll U
    for (int i = 0; i < q; ++i) {
        double t = z[i];
#pragma unroll U
        for (int k = 0; k < i; ++k) t -= A[i * (i + 1) / 2 + k] * z[k];
        z[i] = t * A[i * (i + 1) / 2 + i];
    }
#pragma unroll U
    for (int i = q - 1; i >= 0; --i) {
        double t = z[i];
#pragma unroll U
        for (int k = i + 1; k < q; ++k) t -= A[k * (k + 1) / 2 + i] * z[k];
        z[i] = t * A[i * (i + 1) / 2 + i];
    }
}

// An upper triangle of NP columns and a right-hand side.
struct Triangle {
    double R[NP][NP + 1];
};

// What the rare paths by QR take and leave: a copy, so that the fit itself stays in registers.
struct Scaled {
    double params[NP], scale[NP], h[NP];
    bool held[NP];
};

// Rotates a row of NP + 1 numbers into the triangle; what is left of the row is lost.
__device__ RARE void rotate_in(Triangle& T, double* row) {
#pragma unroll 1
    for (int j = 0; j < NP; ++j) {
        if (row[j] == 0.0) continue;
        const double length = hypot(T.R[j][j], row[j]), cosine = T.R[j][j] / length, sine = row[j] / length;
        T.R[j][j] = length;
#pragma unroll 1
        for (int k = j + 1; k <= NP; ++k) {
            const double upper = T.R[j][k];
            T.R[j][k] = cosine * upper + sine * row[k];
            row[k] = cosine * row[k] - sine * upper;
        }
    }
}

__device__ inline void clear(Triangle& T) {
    for (int j = 0; j < NP; ++j)
        for (int k = 0; k <= NP; ++k) T.R[j][k] = 0.0;
}

// Joins the triangles of the lanes of a team; each of them gets that of lane 0.
__device__ RARE void join(Triangle& T) {
#pragma unroll 1
    for (int step = TEAM / 2; step > 0; step /= 2) {
        Triangle other;
        for (int j = 0; j < NP; ++j)
            for (int k = 0; k <= NP; ++k) other.R[j][k] = __shfl_xor_sync(ALL_LANES, T.R[j][k], step);
        for (int j = 0; j < NP; ++j) rotate_in(T, other.R[j]);
    }
    if (TEAM > 1)
        for (int j = 0; j < NP; ++j)
            for (int k = 0; k <= NP; ++k) T.R[j][k] = __shfl_sync(ALL_LANES, T.R[j][k], 0);
}

// ---------------------------------------------------------------------- one step

// D: the column norms at hand, 1 for a column of zeros; the largest of them throughout where it is plain.
__device__ inline void reset_scale(Fit& fit, int plain) {
    double most = 0.0;
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        const double norm2 = fit.sums[entry(k, k)];
        most = fmax(most, norm2);
        fit.scale[k] = norm2 > 0.0 ? 1.0 / sqrt(norm2) : 1.0;
    }
    if (plain && most > 0.0)
#pragma unroll UNROLLED
        for (int k = 0; k < NP; ++k) fit.scale[k] = 1.0 / sqrt(most);
}

// Raises D to the column norms at hand.
__device__ inline void widen_scale(Fit& fit) {
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        const double norm2 = fit.sums[entry(k, k)];
        if (norm2 * fit.scale[k] * fit.scale[k] > 1.0) fit.scale[k] = 1.0 / sqrt(norm2);
    }
}

// Holds the parameters on a bound that the gradient pushes outwards.
__device__ inline void hold_outward(Fit& fit) {
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        const double g = fit.sums[PAIRS + k];
        fit.held[k] = (fit.params[k] <= fit.lower[k] && g >= 0.0) || (fit.params[k] >= fit.upper[k] && g <= 0.0);
    }
}

// Factorises the scaled J'J + mu of the free parameters; returns the least squared pivot, 0 on failure.
__device__ inline double factorise(const Fit& fit, double mu, double* factor) {
#pragma unroll UNROLLED
    for (int i = 0; i < NP; ++i) {
        const int row = i * (i + 1) / 2;
#pragma unroll UNROLLED
        for (int j = 0; j < i; ++j)
            factor[row + j] = fit.held[i] || fit.held[j] ? 0.0 : fit.sums[row + j] * fit.scale[i] * fit.scale[j];
        factor[row + i] = fit.held[i] ? 1.0 : fit.sums[row + i] * fit.scale[i] * fit.scale[i] + mu;
    }
    const double least = cholesky<UNROLLED>(factor, NP);
    return least > NP * EPS ? least : 0.0;
}

// Writes the damped step of the free parameters to h by Cholesky, with one refinement where pivots are small; returns
// the least squared pivot, 0 on failure. Held parameters keep their part of h: it enters the right-hand side.
__device__ inline double normal_step(Fit& fit, double mu) {
    double factor[PAIRS], z[NP], b[NP];
    const double least = factorise(fit, mu, factor);
    if (least == 0.0) return 0.0;
#pragma unroll UNROLLED
    for (int i = 0; i < NP; ++i) {
        double g = fit.sums[PAIRS + i];
#pragma unroll UNROLLED
        for (int k = 0; k < NP; ++k)
            if (fit.held[k]) g += fit.sums[entry(i, k)] * fit.h[k];
        z[i] = b[i] = fit.held[i] ? 0.0 : -g * fit.scale[i];
    }
    cholesky_solve<UNROLLED>(factor, NP, z);
    if (least < 1e-3) {
#pragma unroll UNROLLED
        for (int i = 0; i < NP; ++i) {
            if (fit.held[i]) continue;
            double total = b[i] - mu * z[i];
#pragma unroll UNROLLED
            for (int k = 0; k < NP; ++k)
                if (!fit.held[k]) total -= fit.sums[entry(i, k)] * fit.scale[i] * fit.scale[k] * z[k];
            b[i] = total;
        }
        cholesky_solve<UNROLLED>(factor, NP, b);
#pragma unroll UNROLLED
        for (int i = 0; i < NP; ++i) z[i] += b[i];
    }
#pragma unroll UNROLLED
    for (int i = 0; i < NP; ++i)
        if (!fit.held[i]) fit.h[i] = z[i] * fit.scale[i];
    return least;
}

__device__ inline Scaled copied(const Fit& fit) {
    Scaled copy;
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        copy.params[k] = fit.params[k];
        copy.scale[k] = fit.scale[k];
        copy.h[k] = fit.h[k];
        copy.held[k] = fit.held[k];
    }
    return copy;
}

// Writes the damped step to h from a QR factorisation of [J D^-1; sqrt(mu) I]: J'J is never formed.
__device__ RARE void qr_step(const Points points, Scaled& fit, double mu) {
    Triangle T;
    clear(T);
    double row[NP + 1], z[NP];
    for (i64 i = threadIdx.x % TEAM; i < points.rows; i += TEAM) {
        const double weight = points.weight(i);
        if (weight == 0.0) continue;
        row[NP] = row_at(points, i, weight, fit.params, row);
        for (int k = 0; k < NP; ++k) {
            if (fit.held[k]) row[NP] += row[k] * fit.h[k];
            row[k] = fit.held[k] ? 0.0 : row[k] * fit.scale[k];
        }
        rotate_in(T, row);
    }
    join(T);
    const double damping = sqrt(fmax(mu, EPS * EPS));
    for (int i = 0; i < NP; ++i) {
        for (int k = 0; k <= NP; ++k) row[k] = 0.0;
        row[i] = fit.held[i] ? 1.0 : damping;
        rotate_in(T, row);
    }
    for (int i = NP - 1; i >= 0; --i) {
        double t = -T.R[i][NP];
        for (int k = i + 1; k < NP; ++k) t -= T.R[i][k] * z[k];
        z[i] = T.R[i][i] != 0.0 ? t / T.R[i][i] : 0.0;
    }
    for (int i = 0; i < NP; ++i)
        if (!fit.held[i]) fit.h[i] = z[i] * fit.scale[i];
}

// Puts parameters that the step takes out of their bounds on the bound; returns whether there was one.
__device__ inline bool stop_at_bounds(Fit& fit) {
    bool crossed = false;
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        const double to = fit.params[k] + fit.h[k], bound = clamped(to, fit.lower[k], fit.upper[k]);
        if (!fit.held[k] && bound != to) {
            fit.h[k] = bound - fit.params[k];
            fit.held[k] = crossed = true;
        }
    }
    return crossed;
}

// Writes a step to h, the trial point and the least squared pivot of the last solve (1 by QR, 0 where Cholesky failed
// and QR stepped in). Parameters that leave their bounds are put on them, and the others are solved for again.
__device__ inline void propose(const Points& points, Fit& fit) {
    bool by_qr = fit.by_qr;
    fit.least = 1.0;
    if (BOX) hold_outward(fit);
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) fit.h[k] = 0.0;
#pragma unroll 1
    for (int round = 0; round <= NP; ++round) {
        if (!by_qr) {
            fit.least = normal_step(fit, fit.mu);
            by_qr = fit.least == 0.0;
        }
        if (by_qr) {
            Scaled copy = copied(fit);
            qr_step(points, copy, fit.mu);
#pragma unroll UNROLLED
            for (int k = 0; k < NP; ++k) fit.h[k] = copy.h[k];
        }
        if (!BOX || !stop_at_bounds(fit)) break;
    }
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) fit.trial[k] = clamped(fit.params[k] + fit.h[k], fit.lower[k], fit.upper[k]);
}

// ---------------------------------------------------------------------- tests of one iteration

// The largest cosine between r and a column of J, over parameters that no bound holds.
__device__ inline double largest_cosine(const Fit& fit) {
    double most = 0.0;
    const double length = sqrt(fit.cost);
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        const double norm2 = fit.sums[entry(k, k)];
        if (!fit.held[k] && norm2 > 0.0) most = fmax(most, fabs(fit.sums[PAIRS + k]) / sqrt(norm2) / length);
    }
    return most;
}

// F - |r + J h|^2; where nothing is held -g'h + mu |D h|^2, two terms that are not negative.
__device__ inline double predicted_reduction(const Fit& fit, double mu) {
    double gh = 0.0, quadratic = 0.0, damped = 0.0;
    bool any = false;
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        gh += fit.sums[PAIRS + k] * fit.h[k];
        damped += (fit.h[k] / fit.scale[k]) * (fit.h[k] / fit.scale[k]);
        any = any || fit.held[k];
    }
    if (!any) return mu * damped - gh;
#pragma unroll UNROLLED
    for (int i = 0; i < NP; ++i)
#pragma unroll UNROLLED
        for (int k = 0; k < NP; ++k) quadratic += fit.h[i] * fit.sums[entry(i, k)] * fit.h[k];
    return -(2.0 * gh + quadratic);
}

// Whether the gradient is small enough for an optimum, given the rounding of residuals of a y of size 1.
__device__ inline bool believable(const Fit& fit, int n) {
    return largest_cosine(fit) <= DOUBT + 100.0 * EPS * sqrt(n / fit.cost);
}

__device__ inline int stationary(const Fit& fit, const Settings& settings, int n) {
    if (fit.cost <= n * (4.0 * EPS) * (4.0 * EPS)) return EXACT;
    return largest_cosine(fit) <= settings.gtol ? GTOL : MAX_ITER;
}

// The damping after a success (Nielsen, IMM-REP-1999-05).
__device__ inline double relaxed(double mu, double rho) {
    if (fabs(rho - 1.0) < SURE) return fmax(mu / BOLD, LEAST);
    const double t = 2.0 * rho - 1.0;
    return fmax(mu * fmax(1.0 / 3.0, 1.0 - t * t * t), LEAST);
}

// Begins a run: F, J'J and J'r at params are there.
__device__ inline void begin_run(Fit& fit, const Settings& settings, int n) {
    fit.n_iter = 0;
    fit.n_passes = 1;
    fit.mu = MU_0;
    fit.nu = 2.0;
    fit.by_qr = 0;
    if (!(fit.cost < infinite())) {
        fit.status = BAD_START;
        fit.cost = missing();
        return;
    }
    reset_scale(fit, settings.plain);
    if (BOX) hold_outward(fit);
    fit.status = stationary(fit, settings, n);
}

// Judges the trial point, whose F and sums are given: accepts it or not, and sets the damping and the status.
__device__ inline void judge(Fit& fit, const Settings& settings, int n, double trial_cost, const double* sums) {
    ++fit.n_iter;
    ++fit.n_passes;
    const double predicted = predicted_reduction(fit, fit.mu), actual = fit.cost - trial_cost;
    double length = 0.0, size = 0.0;  // |D h|, |D params|
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        length += (fit.h[k] / fit.scale[k]) * (fit.h[k] / fit.scale[k]);
        size += (fit.params[k] / fit.scale[k]) * (fit.params[k] / fit.scale[k]);
    }
    length = sqrt(length);
    size = sqrt(size);
    // F is rounded: trust the slope
    const bool level = predicted <= 4.0 * EPS * fit.cost && fabs(actual) <= 1e-12 * fit.cost;
    const bool fresh = fit.nu == 2.0;
    const bool success = trial_cost < infinite() &&
                         ((predicted > 0.0 && actual > ACCEPT * predicted) || (level && fresh));
    const bool small = predicted <= settings.ftol * fit.cost && fabs(actual) <= settings.ftol * fit.cost &&
                       (success || fresh);
    const bool near = success && length <= settings.xtol * size;
    const bool full = fit.mu < 1.0;  // a step that damping has shortened proves nothing
    if (success) {
        fit.mu = relaxed(fit.mu, level ? 1.0 : actual / predicted);
        fit.nu = 2.0;
        fit.cost = trial_cost;
#pragma unroll UNROLLED
        for (int k = 0; k < NP; ++k) fit.params[k] = fit.trial[k];
#pragma unroll
        for (int k = 0; k < SUMS; ++k) fit.sums[k] = sums[k];
        if (!settings.plain) widen_scale(fit);
        if (BOX) hold_outward(fit);
        fit.status = stationary(fit, settings, n);
    } else {
        fit.mu *= fit.nu;
        fit.nu *= 2.0;
        fit.status = length <= EPS * size ? STALLED : MAX_ITER;
    }
    if (full && (small || near) && fit.status == MAX_ITER) {
        fit.status = small ? FTOL : XTOL;
        if (BOX) hold_outward(fit);
        if (!believable(fit, n)) fit.status = STALLED;
    }
    const bool weak = fit.least == 0.0 || fit.status == STALLED ||
                      (fit.status != MAX_ITER && fit.status != EXACT && fit.least < WEAK);
    if (weak && !fit.by_qr) {  // repair: go on with QR and a fresh D
        fit.by_qr = 1;
        fit.mu = fmin(fit.mu, MU_0);
        fit.nu = 2.0;
        fit.status = MAX_ITER;
        reset_scale(fit, settings.plain);
    }
}

// Takes one undamped step from the J'J at hand, not evaluated, where it is small and safe.
__device__ inline void correct(Fit& fit) {
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) fit.h[k] = 0.0;
    if (!(normal_step(fit, 0.0) > WEAK)) return;
    const double gain = predicted_reduction(fit, 0.0);
    if (!(0.0 <= gain && gain <= LIKELY * fit.cost)) return;
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        const double to = fit.params[k] + fit.h[k];
        if (!(fit.lower[k] <= to && to <= fit.upper[k])) return;
    }
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) fit.params[k] += fit.h[k];
    fit.cost = fmax(fit.cost - gain, 0.0);
}

__device__ inline bool unfinished(const Fit& fit, const Settings& settings) {
    return fit.status == MAX_ITER && fit.n_iter < settings.max_iter;
}

// ---------------------------------------------------------------------- covariance

// Reduces the first q columns of the triangle's matrix again with column pivoting, by Householder reflections (Golub
// and Van Loan 2013, 5.4.1); `order` receives the columns, largest first.
__device__ RARE void pivot(Triangle& T, int q, int* order) {
    for (int k = 0; k < q; ++k) order[k] = k;
    for (int j = 0; j < q; ++j) {
        int best = j;
        double most = -1.0;
        for (int k = j; k < q; ++k) {
            double norm2 = 0.0;
            for (int i = j; i < q; ++i) norm2 += T.R[i][k] * T.R[i][k];
            if (norm2 > most) {
                best = k;
                most = norm2;
            }
        }
        const int column = order[j];
        order[j] = order[best];
        order[best] = column;
        for (int i = 0; i < q; ++i) {
            const double t = T.R[i][j];
            T.R[i][j] = T.R[i][best];
            T.R[i][best] = t;
        }
        if (!(most > 0.0)) continue;
        const double alpha = T.R[j][j] > 0.0 ? -sqrt(most) : sqrt(most), head = T.R[j][j] - alpha;
        for (int k = j + 1; k < q; ++k) {
            double dot = T.R[j][k];
            for (int i = j + 1; i < q; ++i) dot += T.R[i][j] / head * T.R[i][k];
            dot *= -head / alpha;
            T.R[j][k] -= dot;
            for (int i = j + 1; i < q; ++i) T.R[i][k] -= dot * (T.R[i][j] / head);
        }
        T.R[j][j] = alpha;
        for (int i = j + 1; i < q; ++i) T.R[i][j] = 0.0;
    }
}

// The inverse of J'J over the free parameters from the rows of J; C is NaN before.
__device__ RARE void covariance_by_qr(const Points points, const Scaled& fit, double* C) {
    Triangle T;
    clear(T);
    double row[NP + 1], J[NP], inverse[NP][NP];
    int place[NP], order[NP], q = 0;
    bool touched[NP];
    for (int k = 0; k < NP; ++k)
        if (!fit.held[k]) place[q++] = k;
    for (i64 i = threadIdx.x % TEAM; i < points.rows; i += TEAM) {
        const double weight = points.weight(i);
        if (weight == 0.0) continue;
        row_at(points, i, weight, fit.params, J);
        for (int k = 0; k <= NP; ++k) row[k] = k < q ? J[place[k]] * fit.scale[place[k]] : 0.0;
        rotate_in(T, row);
    }
    join(T);
    pivot(T, q, order);
    int rank = 0;
    while (rank < q && fabs(T.R[rank][rank]) > RANK * fabs(T.R[0][0])) ++rank;
    for (int k = 0; k < q; ++k) touched[k] = k >= rank;
    for (int dependent = rank; dependent < q; ++dependent)  // null vectors: -R11^-1 R12 over 1
        for (int i = rank - 1; i >= 0; --i) {
            double t = T.R[i][dependent];
            for (int k = i + 1; k < rank; ++k) t -= T.R[i][k] * T.R[k][dependent];
            T.R[i][dependent] = t / T.R[i][i];
            if (fabs(T.R[i][dependent]) > SHARE) touched[i] = true;
        }
    for (int j = 0; j < rank; ++j)  // row j: column j of R^-1
        for (int i = rank - 1; i >= 0; --i) {
            double t = i == j ? 1.0 : 0.0;
            for (int k = i + 1; k < rank; ++k) t -= T.R[i][k] * inverse[j][k];
            inverse[j][i] = t / T.R[i][i];
        }
    for (int a = 0; a < rank; ++a)
        for (int b = 0; b < rank; ++b) {
            if (touched[a] || touched[b]) continue;
            double total = 0.0;
            for (int j = 0; j < rank; ++j) total += inverse[j][a] * inverse[j][b];
            const int i = place[order[a]], k = place[order[b]];
            C[i * NP + k] = total * fit.scale[i] * fit.scale[k];
        }
}

// Fills C (NP, NP) with the inverse of J'J over the free parameters: NaN where one lies on a bound, or is not
// determined: alone, where its column has come to be rounding, or with others. By Cholesky of the scaled J'J where its
// pivots are large; else by pivoted QR of the scaled J. `scale` is 1 / the longest that the columns were, n points count.
__device__ inline void covariance_of(const Points& points, Fit& fit, int n, double* C) {
    for (int k = 0; k < NP * NP; ++k) C[k] = missing();
    for (int k = 0; k < NP; ++k) {
        const double norm2 = fit.sums[entry(k, k)], value = fit.params[k], ratio = DROWNED / fit.scale[k];
        const bool drowned = norm2 <= ratio * ratio && norm2 * value * value <= n * (16.0 * EPS) * (16.0 * EPS);
        fit.held[k] = drowned || value <= fit.lower[k] || value >= fit.upper[k];
    }
    reset_scale(fit, 0);
    double factor[PAIRS], z[NP];
    if (!(factorise(fit, 0.0, factor) > WELL)) {
        covariance_by_qr(points, copied(fit), C);
        return;
    }
#pragma unroll 1
    for (int j = 0; j < NP; ++j) {
        if (fit.held[j]) continue;
#pragma unroll 1
        for (int i = 0; i < NP; ++i) z[i] = i == j ? 1.0 : 0.0;
        cholesky_solve<1>(factor, NP, z);
#pragma unroll 1
        for (int i = 0; i < NP; ++i)
            if (!fit.held[i]) C[i * NP + j] = z[i] * fit.scale[i] * fit.scale[j];
    }
}
