// CUDA's language on the host, so that whole kernels run without a device: every thread of a block is a coroutine with
// a stack of its own, switched at barriers and shuffles; blocks run one after the other.
//
// What it finds: wrong indices (the caller pads its arrays), barriers that not all threads reach, and, by running the
// threads in another order (`order`), data that one thread reads before another has written it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>
#include <setjmp.h>
#include <ucontext.h>

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static
#define DYNAMIC_SHARED(name) double* name = host::shared.data()

struct Index {
    unsigned x = 0, y = 0, z = 0;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace host {

enum State { READY, AT_BARRIER, AT_WARP, DONE };

struct Thread {
    ucontext_t context;  // begins the thread
    jmp_buf place;       // goes on with it: unlike swapcontext, a jump makes no system call
    std::unique_ptr<char[]> stack;
    State state;
    bool begun;
};

static std::vector<double> shared;
static std::vector<Thread> threads;
static jmp_buf scheduler;
static unsigned current;
static const char* fault;
static double exchange[32 * 64];  // one word a thread, for shuffles

constexpr size_t STACK = 128 * 1024;

__attribute__((noinline)) static void wait(State state) {
    threads[current].state = state;
    if (!_setjmp(threads[current].place)) _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void resume(Thread& thread) {
    if (_setjmp(scheduler)) return;
    if (thread.begun) _longjmp(thread.place, 1);
    thread.begun = true;
    setcontext(&thread.context);
}

template <class V>
V shuffle(unsigned mask, V value, unsigned source) {
    static_assert(sizeof(V) <= sizeof(double));
    if (mask != 0xffffffffu) fault = "a shuffle with a partial mask";
    std::memcpy(&exchange[current], &value, sizeof(V));
    wait(AT_WARP);
    V found;
    std::memcpy(&found, &exchange[source], sizeof(V));
    wait(AT_WARP);
    return found;
}

// Releases the threads of [first, last) that wait, where all of them do so in the same place.
inline bool release(unsigned first, unsigned last, State state) {
    unsigned waiting = 0, done = 0;
    for (unsigned k = first; k < last; ++k) {
        waiting += threads[k].state == state;
        done += threads[k].state == DONE;
    }
    if (!waiting) return false;
    if (waiting + done < last - first) return false;
    if (done) {
        fault = state == AT_BARRIER ? "a barrier that ended threads never reach" : "a shuffle with ended lanes";
        return false;
    }
    for (unsigned k = first; k < last; ++k) threads[k].state = READY;
    return true;
}

template <class Body>
void entry(unsigned low, unsigned high) {
    Body* body = reinterpret_cast<Body*>((uintptr_t(high) << 32) | uintptr_t(low));
    (*body)();
    threads[current].state = DONE;
    _longjmp(scheduler, 1);
}

// Runs the threads of one block; `order` 0 is ascending, 1 descending, others a fixed shuffle.
template <class Body>
void run_block(Body& body, unsigned count, int order) {
    threads.resize(count);
    std::vector<unsigned> turns(count);
    for (unsigned k = 0; k < count; ++k) turns[k] = order == 1 ? count - 1 - k : k;
    if (order > 1) {
        uint64_t seed = 88172645463325252ull + order;
        for (unsigned k = count - 1; k > 0; --k) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            std::swap(turns[k], turns[seed % (k + 1)]);
        }
    }
    const uintptr_t address = reinterpret_cast<uintptr_t>(&body);
    for (unsigned k = 0; k < count; ++k) {
        Thread& thread = threads[k];
        if (!thread.stack) thread.stack.reset(new char[STACK]);
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = nullptr;
        thread.state = READY;
        thread.begun = false;
        makecontext(&thread.context, reinterpret_cast<void (*)()>(entry<Body>), 2, unsigned(address & 0xffffffffu),
                    unsigned(address >> 32));
    }
    for (;;) {
        bool moved = false;
        for (unsigned turn : turns) {
            if (threads[turn].state != READY) continue;
            current = turn;
            threadIdx.x = turn % blockDim.x;
            threadIdx.y = turn / blockDim.x % blockDim.y;
            threadIdx.z = turn / blockDim.x / blockDim.y;
            resume(threads[turn]);
            moved = true;
        }
        if (fault) return;
        bool released = false;
        for (unsigned first = 0; first < count; first += 32)
            released |= release(first, std::min(first + 32, count), AT_WARP);
        released |= release(0, count, AT_BARRIER);
        if (!moved && !released) {
            for (const Thread& thread : threads)
                if (thread.state != DONE && !fault) fault = "threads that wait for each other in different places";
            return;
        }
    }
}

template <class... A, size_t... I>
const char* launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, size_t bytes, void** arguments,
                   int order, std::index_sequence<I...>) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    fault = nullptr;
    const unsigned count = block[0] * block[1] * block[2];
    if (count > 1024) return "a block of more than 1024 threads";
    auto body = [&] { kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...); };
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x) {
                shared.assign(bytes / sizeof(double) + 1024, std::numeric_limits<double>::quiet_NaN());
                run_block(body, count, order);
                for (size_t k = bytes / sizeof(double); k < shared.size(); ++k)
                    if (!std::isnan(shared[k])) fault = "a write beyond the shared memory asked for";
                if (fault) return fault;
            }
    return nullptr;
}

template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, size_t bytes, void** arguments,
                   int order) {
    return launch(kernel, grid, block, bytes, arguments, order, std::index_sequence_for<A...>{});
}

// 'p' for a pointer, else 'i' or 'f' with the size: what the caller's arguments must be.
template <class V>
char kind_of() {
    if (std::is_pointer_v<V>) return 'p';
    if (std::is_floating_point_v<V>) return sizeof(V) == 8 ? 'd' : 'f';
    return sizeof(V) == 8 ? 'q' : sizeof(V) == 4 ? 'i' : '?';
}

template <class... A>
const char* signature(void (*)(A...)) {
    static const char text[] = {kind_of<A>()..., 0};
    return text;
}

}  // namespace host

#define EXPORT(name)                                                                                           \
    extern "C" const char* launch_##name(const unsigned* grid, const unsigned* block, size_t bytes, void** arguments, \
                                         int order) {                                                          \
        return host::launch(name, grid, block, bytes, arguments, order);                                      \
    }                                                                                                          \
    extern "C" const char* signature_##name() { return host::signature(name); }

inline void __syncthreads() { host::wait(host::AT_BARRIER); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    if (mask != 0xffffffffu) host::fault = "a partial mask";
    host::wait(host::AT_WARP);
}
template <class V>
V __shfl_sync(unsigned mask, V value, int source, int width = 32) {
    const unsigned lane = host::current % 32, base = host::current - lane;
    return host::shuffle(mask, value, base + (lane / width) * width + (unsigned(source) % width));
}
template <class V>
V __shfl_xor_sync(unsigned mask, V value, int step, int width = 32) {
    const unsigned lane = host::current % 32, base = host::current - lane, other = lane ^ unsigned(step);
    return host::shuffle(mask, value, other / width == lane / width ? base + other : base + lane);
}
template <class V>
V __shfl_down_sync(unsigned mask, V value, unsigned step, int width = 32) {
    const unsigned lane = host::current % 32, base = host::current - lane;
    return host::shuffle(mask, value, lane % width + step < unsigned(width) ? base + lane + step : base + lane);
}
template <class V>
V __ldg(const V* address) {
    return *address;
}
using std::fabs;
using std::fmax;
using std::fmin;
using std::max;
using std::min;
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
