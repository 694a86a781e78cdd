// Many fits of one model: preparation, search for starts, iterations, covariance. A fit belongs to a thread (TEAM 1:
// arrays with the fit as the fastest index, so that neighbours read neighbouring numbers) or to the 32 lanes of a warp
// (TEAM 32: the points of a fit are neighbours); those of very long ones to the grid. Constants: see curve_fit.cuh; TRIES,
// starts followed to the end.
//
// What a fit keeps between launches lies in `state` (double) and `marks` (int), each of shape (rows, fits).
#include "curve_fit.cuh"

// Rows of state. TOTAL: sum of squares about the mean; the BEST_ ones belong to the best run so far.
enum Row { PARAMS = 0, SCALE = NP, AT_SUMS = 2 * NP, COST = AT_SUMS + SUMS, MU, NU, UNIT, TOTAL, BEST_COST, BEST_PARAMS };
// Rows of marks. LEFT: whether the run has iterations left; ITERATIONS and PASSES over all runs.
enum Mark { STATUS, N_ITER, N_PASSES, BY_QR, LEFT, N_POINTS, BEST_STATUS, ITERATIONS, PASSES };

// The arguments of every kernel that reads points: the arrays, points of each fit (null: all have `rows`), the longest
// number of points, fits in the arrays, whether x and s have a part for each fit.
#define POINTS                                                                                                     \
    const double *x, const double *y, const double *s, const int *count, i64 rows, i64 width, int own_x, int own_s

// Number of this thread's fit in a launch over `fits` of them, -1 beyond.
__device__ inline i64 number_of(i64 fits) {
    const i64 t = ((i64)blockIdx.x * THREADS + threadIdx.x) / TEAM;
    return t < fits ? t : -1;
}

__device__ inline bool leads() { return threadIdx.x % TEAM == 0; }

__device__ inline Points points_of(POINTS, i64 column) {
    const i64 step = TEAM == 1 ? width : 1;
    Points p;
    p.x = own_x ? x + (TEAM == 1 ? column : column * rows * ND) : x;
    p.y = y + (TEAM == 1 ? column : column * rows);
    p.s = s && own_s ? s + (TEAM == 1 ? column : column * rows) : s;
    p.x_step = own_x ? step : 1;
    p.y_step = step;
    p.s_step = own_s ? step : 1;
    p.rows = count ? count[column] : rows;
    p.c = 1.0;
    p.n = 0;
    return p;
}

#define POINTS_OF(column) points_of(x, y, s, count, rows, width, own_x, own_s, column)

__device__ inline void take_bounds(Fit& fit, const double* lower, const double* upper, i64 stride, i64 column) {
    for (int k = 0; k < NP; ++k) {
        fit.lower[k] = BOX ? lower[k * stride + column] : -infinite();
        fit.upper[k] = BOX ? upper[k * stride + column] : infinite();
        fit.held[k] = false;
    }
}

__device__ inline void load(Fit& fit, const double* state, const int* marks, i64 fits, i64 at) {
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        fit.params[k] = state[(PARAMS + k) * fits + at];
        fit.scale[k] = state[(SCALE + k) * fits + at];
    }
#pragma unroll
    for (int k = 0; k < SUMS; ++k) fit.sums[k] = state[(AT_SUMS + k) * fits + at];
    fit.cost = state[COST * fits + at];
    fit.mu = state[MU * fits + at];
    fit.nu = state[NU * fits + at];
    fit.by_qr = marks[BY_QR * fits + at];
    fit.status = marks[STATUS * fits + at];
    fit.n_iter = marks[N_ITER * fits + at];
    fit.n_passes = marks[N_PASSES * fits + at];
}

__device__ inline void store(const Fit& fit, int left, double* state, int* marks, i64 fits, i64 at) {
    if (!leads()) return;
#pragma unroll UNROLLED
    for (int k = 0; k < NP; ++k) {
        state[(PARAMS + k) * fits + at] = fit.params[k];
        state[(SCALE + k) * fits + at] = fit.scale[k];
    }
#pragma unroll
    for (int k = 0; k < SUMS; ++k) state[(AT_SUMS + k) * fits + at] = fit.sums[k];
    state[COST * fits + at] = fit.cost;
    state[MU * fits + at] = fit.mu;
    state[NU * fits + at] = fit.nu;
    marks[BY_QR * fits + at] = fit.by_qr;
    marks[STATUS * fits + at] = fit.status;
    marks[N_ITER * fits + at] = fit.n_iter;
    marks[N_PASSES * fits + at] = fit.n_passes;
    marks[LEFT * fits + at] = left;
}

// What there is to know about the points of a fit before it begins.
struct Survey {
    double check, weights, mean, used, top;  // NaN where a number is not finite, sums of s^2 and s^2 y, points, max |s y|
};

__device__ inline Survey survey(const Points& p, i64 first, i64 every) {
    Survey found = {0.0, 0.0, 0.0, 0.0, 0.0};
#pragma unroll 4  // several loads under way
    for (i64 i = first; i < p.rows; i += every) {
        const double s_i = p.weight(i), y_i = p.y[i * p.y_step], size = fabs(s_i * y_i);
        if (s_i == 0.0) continue;
        for (int j = 0; j < ND; ++j) found.check += p.x[(i * ND + j) * p.x_step] * 0.0;
        found.check += size * 0.0;
        found.top = fmax(found.top, size);
        found.weights += s_i * s_i;
        found.mean += s_i * s_i * y_i;
        found.used += 1.0;
    }
    return found;
}

__device__ inline double squares_about(const Points& p, double mean, i64 first, i64 every) {
    double total = 0.0;
#pragma unroll 8
    for (i64 i = first; i < p.rows; i += every) {
        const double s_i = p.weight(i);
        if (s_i == 0.0) continue;
        const double gap = s_i * (p.y[i * p.y_step] - mean);
        total += gap * gap;
    }
    return total;
}

__device__ inline void store_survey(const Survey& found, double total, double* state, int* marks, i64 fits, i64 at) {
    const bool sound = found.check == 0.0;
    const int n = sound ? (int)found.used : 0;
    state[UNIT * fits + at] = found.top > 0.0 ? 1.0 / found.top : 1.0;
    state[TOTAL * fits + at] = total;
    state[BEST_COST * fits + at] = missing();
    for (int k = 0; k < NP; ++k) state[(BEST_PARAMS + k) * fits + at] = missing();
    marks[N_POINTS * fits + at] = n;
    marks[STATUS * fits + at] = BAD_START;
    marks[LEFT * fits + at] = 0;
    marks[BEST_STATUS * fits + at] = !sound ? BAD_DATA : n < NP ? TOO_FEW_POINTS : BAD_START;
    marks[ITERATIONS * fits + at] = marks[PASSES * fits + at] = marks[N_ITER * fits + at] = marks[N_PASSES * fits + at] = 0;
}

// Looks at the data of each fit: numbers that are not finite, the size of s y, the sum of squares about the mean.
extern "C" __global__ void __launch_bounds__(THREADS) prepare(POINTS, i64 fits, double* state, int* marks) {
    const i64 at = number_of(fits);
    if (at < 0) return;
    const Points p = POINTS_OF(at);
    Survey found = survey(p, threadIdx.x % TEAM, TEAM);
    found.check = lanes_sum<TEAM>(found.check);
    found.top = lanes_max<TEAM>(found.top);
    found.weights = lanes_sum<TEAM>(found.weights);
    found.mean = lanes_sum<TEAM>(found.mean);
    found.used = lanes_sum<TEAM>(found.used);
    found.mean = found.weights > 0.0 ? found.mean / found.weights : 0.0;
    const double total = lanes_sum<TEAM>(squares_about(p, found.mean, threadIdx.x % TEAM, TEAM));
    if (leads()) store_survey(found, total, state, marks, fits, at);
}

// The same for one long fit, number `at`, in three launches, by the grid. partial: (4, blocks) sums and, in the row after
// them, the largest |s y|; then, where the sums of all blocks are given, (1, blocks) squares about the mean.
extern "C" __global__ void __launch_bounds__(THREADS) survey_one(POINTS, i64 at, const double* sums, double* partial) {
    __shared__ double shared[THREADS / 32];
    const Points p = POINTS_OF(at);
    const i64 first = (i64)blockIdx.x * THREADS + threadIdx.x, every = (i64)gridDim.x * THREADS, blocks = gridDim.x;
    if (sums) {
        const double mean = sums[0] > 0.0 ? sums[1] / sums[0] : 0.0;
        const double total = block_sum(squares_about(p, mean, first, every), shared);
        if (threadIdx.x == 0) partial[blockIdx.x] = total;
        return;
    }
    const Survey found = survey(p, first, every);
    const double weights = block_sum(found.weights, shared), mean = block_sum(found.mean, shared);
    const double used = block_sum(found.used, shared), check = block_sum(found.check, shared);
    const double top = lanes_max<32>(found.top);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = top;
    __syncthreads();
    if (threadIdx.x != 0) return;
    double most = 0.0;
    for (int k = 0; k < THREADS / 32; ++k) most = fmax(most, shared[k]);
    const double row[5] = {weights, mean, used, check, most};
    for (int k = 0; k < 5; ++k) partial[k * blocks + blockIdx.x] = row[k];
}

extern "C" __global__ void __launch_bounds__(32)
    prepare_one(i64 fits, double* state, int* marks, i64 at, const double* sums, const double* top, const double* total) {
    if (threadIdx.x != 0) return;
    store_survey({sums[3], sums[0], 0.0, sums[2], top[0]}, total[0], state, marks, fits, at);
}

// Solves for the linear parameters of a trial point, 0 so far, given F and the sums there; returns the F predicted, inf
// where that fails. With them at 0, J'J and J'r over their columns are the normal equations; other columns may hold
// anything.
__device__ inline double linear_part(double cost, const double* sums, const int* linear, int q, double* trial) {
    double factor[PAIRS], norms[NP], z[NP];
#pragma unroll 1
    for (int a = 0; a < q; ++a) {
        const double norm = sqrt(sums[entry(linear[a], linear[a])]);
        norms[a] = norm > 0.0 ? norm : 1.0;
        for (int b = 0; b <= a; ++b)  // a ridge of 1e-12 keeps the scaled matrix positive definite
            factor[entry(a, b)] = sums[entry(linear[a], linear[b])] / (norms[a] * norms[b]) + (a == b ? 1e-12 : 0.0);
        z[a] = -sums[PAIRS + linear[a]] / norms[a];
    }
    if (q > 0 && cholesky<1>(factor, q) == 0.0) return infinite();
    cholesky_solve<1>(factor, q, z);
    for (int a = 0; a < q; ++a) {
        trial[linear[a]] = z[a] / norms[a];
        cost += sums[PAIRS + linear[a]] * trial[linear[a]];
    }
    return cost * 0.0 == 0.0 ? cost : infinite();
}

// Puts a candidate within its bounds to the trial point, 0 for the linear parameters. candidates: as for `search`.
__device__ inline void candidate(Fit& fit, const double* candidates, int own_candidates, i64 fits, i64 at, int number,
                                 const int* nonlinear, int r) {
    for (int i = 0; i < NP; ++i) fit.trial[i] = 0.0;
    for (int a = 0; a < r; ++a) {
        const i64 place = (i64)number * r + a;
        const int i = nonlinear[a];
        fit.trial[i] = clamped(candidates[own_candidates ? place * fits + at : place], fit.lower[i], fit.upper[i]);
    }
}

// Writes the best candidates of each fit to starts (TRIES, NP, fits) and costs (TRIES, fits), the best first; costs are
// inf where there is none. candidates: (K, r, fits), or (K, r, 1) shared by all.
extern "C" __global__ void __launch_bounds__(THREADS)
    search(POINTS, i64 fits, const double* state, int* marks, const double* lower, const double* upper, i64 stride,
           const double* candidates, int own_candidates, int K, const int* linear, int q, const int* nonlinear, int r,
           double* starts, double* costs) {
    const i64 at = number_of(fits);
    if (at < 0) return;
    Points p = POINTS_OF(at);
    p.c = state[UNIT * fits + at];
    Fit fit;
    take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
    double best[TRIES][NP], least[TRIES], sums[SUMS];
    int passes = 0;
    for (int a = 0; a < TRIES; ++a) {
        least[a] = infinite();
        for (int i = 0; i < NP; ++i) best[a][i] = missing();
    }
    const int rounds = marks[BEST_STATUS * fits + at] == BAD_START ? K : 0;
    for (int number = 0; number < rounds; ++number) {
        candidate(fit, candidates, own_candidates, fits, at, number, nonlinear, r);
        double cost = pass(p, fit.trial, sums);
        cost = linear_part(cost, sums, linear, q, fit.trial);
        ++passes;
        if (BOX && cost < infinite()) {
            for (int i = 0; i < NP; ++i) fit.trial[i] = clamped(fit.trial[i], fit.lower[i], fit.upper[i]);
            cost = evaluate(p, fit.trial, sums);
            ++passes;
        }
        if (!(cost < least[TRIES - 1])) continue;
        int to = TRIES - 1;
        for (; to > 0 && cost < least[to - 1]; --to) {
            least[to] = least[to - 1];
            for (int i = 0; i < NP; ++i) best[to][i] = best[to - 1][i];
        }
        least[to] = cost;
        for (int i = 0; i < NP; ++i) best[to][i] = fit.trial[i];
    }
    if (!leads()) return;
    marks[PASSES * fits + at] += passes;
    for (int a = 0; a < TRIES; ++a) {
        costs[a * fits + at] = least[a];
        for (int i = 0; i < NP; ++i) starts[((i64)a * NP + i) * fits + at] = best[a][i];
    }
}

// Whether a fit has no usable data or no finite cost (where costs are given); it is marked then.
__device__ inline bool cannot_begin(int* marks, const double* costs, i64 fits, i64 at) {
    const int before = marks[BEST_STATUS * fits + at];
    if (!(before == BAD_DATA || before == TOO_FEW_POINTS || (costs && !(costs[at] < infinite())))) return false;
    if (leads()) {
        marks[STATUS * fits + at] = BAD_START;
        marks[LEFT * fits + at] = marks[N_ITER * fits + at] = marks[N_PASSES * fits + at] = 0;
    }
    return true;
}

// Begins a run of each fit that has usable data and a finite cost (where costs are given): F, J'J, D at its start.
extern "C" __global__ void __launch_bounds__(THREADS)
    begin(POINTS, i64 fits, double* state, int* marks, const double* lower, const double* upper, i64 stride,
          const double* starts, const double* costs, double gtol, int plain) {
    const i64 at = number_of(fits);
    if (at < 0) return;
    if (cannot_begin(marks, costs, fits, at)) return;
    Points p = POINTS_OF(at);
    p.c = state[UNIT * fits + at];
    Fit fit;
    take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
    for (int k = 0; k < NP; ++k) {
        fit.params[k] = starts[k * fits + at];
        fit.scale[k] = 1.0;
    }
    const Settings settings = {0, 0.0, 0.0, gtol, plain};
    fit.cost = evaluate(p, fit.params, fit.sums);
    begin_run(fit, settings, marks[N_POINTS * fits + at]);
    store(fit, fit.status != BAD_START, state, marks, fits, at);
}

// The same for one long fit, number `at`, whose sums at the start the grid has added up: see `sums_of_one`. TEAM 32.
extern "C" __global__ void __launch_bounds__(32)
    begin_one(i64 fits, double* state, int* marks, const double* lower, const double* upper, i64 stride, i64 at,
              const double* work, const double* costs, const double* total, double gtol, int plain) {
    if (cannot_begin(marks, costs, fits, at)) return;
    Fit fit;
    take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
    for (int k = 0; k < NP; ++k) {
        fit.params[k] = work[k];
        fit.scale[k] = 1.0;
    }
    for (int k = 0; k < SUMS; ++k) fit.sums[k] = total[k];
    fit.cost = checked(total[SUMS], total);
    const Settings settings = {0, 0.0, 0.0, gtol, plain};
    begin_run(fit, settings, marks[N_POINTS * fits + at]);
    store(fit, fit.status != BAD_START, state, marks, fits, at);
}

// Takes the fits `ids` (their data in `columns`, null: all of them where they are) a number of steps further. A run
// that ends makes its last correction and is marked so.
extern "C" __global__ void __launch_bounds__(THREADS)
    iterate(POINTS, const i64* ids, const i64* columns, i64 active, i64 fits, double* state, int* marks,
            const double* lower, const double* upper, i64 stride, int steps, int max_iter, double ftol, double xtol,
            double gtol, int plain) {
    const i64 number = number_of(active);
    if (number < 0) return;
    const i64 at = ids ? ids[number] : number;
    if (!marks[LEFT * fits + at]) return;
    Points p = POINTS_OF(columns ? columns[number] : at);
    p.c = state[UNIT * fits + at];
    p.n = marks[N_POINTS * fits + at];
    const Settings settings = {max_iter, ftol, xtol, gtol, plain};
    Fit fit;
    take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
    load(fit, state, marks, fits, at);
    if (BOX) hold_outward(fit);
    for (int step = 0; step < steps && unfinished(fit, settings); ++step) {
        double sums[SUMS];
        propose(p, fit);
        const double cost = evaluate(p, fit.trial, sums);
        judge(fit, settings, p.n, cost, sums);
    }
    const bool left = unfinished(fit, settings);
    if (!left && fit.status > 0 && fit.status != EXACT) correct(fit);
    store(fit, left, state, marks, fits, at);
}

// One iteration of one long fit, number `at`, in three launches: a warp proposes, the grid adds up the points, and with
// the blocks' sums added the warp judges. TEAM 32. What the first leaves to the last is in `work` (3 NP + 1).

extern "C" __global__ void __launch_bounds__(32)
    propose_one(POINTS, i64 fits, const double* state, const int* marks, const double* lower, const double* upper,
                i64 stride, i64 at, double* work) {
    Points p = POINTS_OF(at);
    p.c = state[UNIT * fits + at];
    Fit fit;
    take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
    load(fit, state, marks, fits, at);
    propose(p, fit);
    if (!leads()) return;
    for (int k = 0; k < NP; ++k) {
        work[k] = fit.trial[k];
        work[NP + k] = fit.h[k];
        work[2 * NP + k] = fit.held[k];
    }
    work[3 * NP] = fit.least;
}

// partial: (SUMS + 1, blocks), J'J, J'r and F at the trial point.
extern "C" __global__ void __launch_bounds__(THREADS)
    sums_of_one(POINTS, i64 fits, const double* state, i64 at, const double* work, double* partial) {
    __shared__ double shared[THREADS / 32];
    Points p = POINTS_OF(at);
    p.c = state[UNIT * fits + at];
    double trial[NP], sums[SUMS];
    for (int k = 0; k < NP; ++k) trial[k] = work[k];
    const i64 first = (i64)blockIdx.x * THREADS + threadIdx.x;
    const double cost = block_sum(share_of_sums(p, trial, first, (i64)gridDim.x * THREADS, sums), shared);
    if (threadIdx.x == 0) partial[(i64)SUMS * gridDim.x + blockIdx.x] = cost;
#pragma unroll
    for (int k = 0; k < SUMS; ++k) {
        const double sum = block_sum(sums[k], shared);
        if (threadIdx.x == 0) partial[(i64)k * gridDim.x + blockIdx.x] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(32)
    judge_one(i64 fits, double* state, int* marks, const double* lower, const double* upper, i64 stride, i64 at,
              const double* work, const double* total, int max_iter, double ftol, double xtol, double gtol, int plain) {
    const Settings settings = {max_iter, ftol, xtol, gtol, plain};
    Fit fit;
    take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
    load(fit, state, marks, fits, at);
    for (int k = 0; k < NP; ++k) {
        fit.trial[k] = work[k];
        fit.h[k] = work[NP + k];
        fit.held[k] = work[2 * NP + k] != 0.0;
    }
    fit.least = work[3 * NP];
    if (unfinished(fit, settings))  // it may have come to rest at its start
        judge(fit, settings, marks[N_POINTS * fits + at], checked(total[SUMS], total), total);
    const bool left = unfinished(fit, settings);
    if (!left && fit.status > 0 && fit.status != EXACT) correct(fit);
    store(fit, left, state, marks, fits, at);
}

// One candidate of one long fit in a few launches: a thread writes it, the grid adds up the points, a thread solves for the
// linear parameters; with bounds the grid adds up once more; a thread ranks it. `work` holds the trial point and F there.

extern "C" __global__ void __launch_bounds__(32)
    trial_one(i64 fits, const double* lower, const double* upper, i64 stride, i64 at, const double* candidates,
              int own_candidates, int number, const int* nonlinear, int r, double* work) {
    if (threadIdx.x != 0) return;
    Fit fit;
    take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
    candidate(fit, candidates, own_candidates, fits, at, number, nonlinear, r);
    for (int i = 0; i < NP; ++i) work[i] = fit.trial[i];
}

extern "C" __global__ void __launch_bounds__(32)
    solve_one(const double* lower, const double* upper, i64 stride, i64 at, const int* linear, int q,
              const double* total, double* work) {
    if (threadIdx.x != 0) return;
    Fit fit;
    take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
    for (int i = 0; i < NP; ++i) fit.trial[i] = work[i];
    work[NP] = linear_part(total[SUMS], total, linear, q, fit.trial);
    for (int i = 0; i < NP; ++i) work[i] = BOX ? clamped(fit.trial[i], fit.lower[i], fit.upper[i]) : fit.trial[i];
}

extern "C" __global__ void __launch_bounds__(32)
    rank_one(i64 fits, int* marks, i64 at, int number, const double* total, const double* work, double* starts,
             double* costs) {
    if (threadIdx.x != 0) return;
    if (number == 0)
        for (int a = 0; a < TRIES; ++a) {
            costs[a * fits + at] = infinite();
            for (int i = 0; i < NP; ++i) starts[((i64)a * NP + i) * fits + at] = missing();
        }
    if (marks[BEST_STATUS * fits + at] != BAD_START) return;
    const bool again = BOX && work[NP] < infinite();
    const double cost = again ? checked(total[SUMS], total) : work[NP];
    marks[PASSES * fits + at] += again ? 2 : 1;
    int to = TRIES;
    for (; to > 0 && cost < costs[(to - 1) * fits + at]; --to) {
        if (to == TRIES) continue;
        costs[to * fits + at] = costs[(to - 1) * fits + at];
        for (int i = 0; i < NP; ++i)
            starts[((i64)to * NP + i) * fits + at] = starts[((i64)(to - 1) * NP + i) * fits + at];
    }
    if (to == TRIES) return;
    costs[to * fits + at] = cost;
    for (int i = 0; i < NP; ++i) starts[((i64)to * NP + i) * fits + at] = work[i];
}

// Keeps the run that has just ended where it is the first or the best of its fit, and adds up the work.
extern "C" __global__ void __launch_bounds__(THREADS) keep(i64 fits, double* state, int* marks) {
    const i64 at = number_of(fits);
    if (at < 0 || !leads()) return;
    marks[ITERATIONS * fits + at] += marks[N_ITER * fits + at];
    marks[PASSES * fits + at] += marks[N_PASSES * fits + at];
    const int status = marks[STATUS * fits + at];
    const double cost = state[COST * fits + at];
    if (status == BAD_START ||
        !(marks[BEST_STATUS * fits + at] == BAD_START || cost < state[BEST_COST * fits + at])) return;
    marks[BEST_STATUS * fits + at] = status;
    state[BEST_COST * fits + at] = cost;
    for (int k = 0; k < NP; ++k) state[(BEST_PARAMS + k) * fits + at] = state[(PARAMS + k) * fits + at];
}

// Writes what each fit leaves: rows of `out` are the parameters, their standard errors, the sum of squares, R^2 and,
// where `covariances`, the NP x NP covariance; NaN where there is none. `again`: J'J is not that of the best run.
extern "C" __global__ void __launch_bounds__(THREADS)
    finish(POINTS, i64 fits, const double* state, const int* marks, const double* lower, const double* upper,
           i64 stride, int again, int scale_by_rss, int covariances, double* out) {
    const i64 at = number_of(fits);
    if (at < 0) return;
    const int status = marks[BEST_STATUS * fits + at], n = marks[N_POINTS * fits + at];
    const double cost = state[BEST_COST * fits + at], unit = state[UNIT * fits + at], total = state[TOTAL * fits + at];
    const bool ran = status > STALLED - 1, rests = ran && status != MAX_ITER;
    double C[NP * NP];
    for (int k = 0; k < NP * NP; ++k) C[k] = missing();
    Fit fit;
    if (rests) {
        Points p = POINTS_OF(at);
        p.c = unit;
        take_bounds(fit, lower, upper, stride, stride > 1 ? at : 0);
        for (int k = 0; k < NP; ++k) {
            fit.params[k] = state[(BEST_PARAMS + k) * fits + at];
            fit.scale[k] = state[(SCALE + k) * fits + at];
        }
        for (int k = 0; k < SUMS; ++k) fit.sums[k] = state[(AT_SUMS + k) * fits + at];
        if (again) evaluate(p, fit.params, fit.sums);
        covariance_of(p, fit, n, C);
    }
    if (!leads()) return;
    const double rss = cost / (unit * unit);
    double factor = unit * unit;  // J'J and F hold c^2
    if (scale_by_rss) factor = n > NP ? cost / (n - NP) : missing();
    for (int k = 0; k < NP; ++k) {
        out[k * fits + at] = ran ? state[(BEST_PARAMS + k) * fits + at] : missing();
        out[(NP + k) * fits + at] = sqrt(C[k * NP + k] * factor);
    }
    out[2 * NP * fits + at] = ran ? rss : missing();
    out[(2 * NP + 1) * fits + at] = ran && total > 0.0 ? 1.0 - rss / total : missing();
    if (covariances)
        for (int k = 0; k < NP * NP; ++k) out[(2 * NP + 2 + k) * fits + at] = C[k] * factor;
}
