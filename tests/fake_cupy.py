"""CuPy's interface over NumPy, for tests without a device: arrays that never turn into NumPy ones unasked, kernels that
g++ compiles and the host runs, and counters of what waits for the device.

`installed()` puts it in the place of `cupy` and `cupyx`. Where CuPy refuses something (an implicit conversion, a NumPy
array in a ufunc), so does this; where CuPy hands out uninitialised memory, this fills it with NaN.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections import Counter

import numpy as np
import scipy.sparse
from host_cuda import Kernel

#: Names of NumPy 2 that CuPy 13 has not; array-api-compat adds some of them to its own namespace.
NOT_THERE = (
    "acos acosh apply_over_axes asin asinh astype atan atan2 atanh bitwise_count bitwise_invert bitwise_left_shift "
    "bitwise_right_shift block bmat concat cumulative_prod cumulative_sum einsum_path errstate frompyfunc geomspace "
    "insert isdtype isnat matrix_transpose matvec ndenumerate nditer permute_dims pow put_along_axis seterr spacing "
    "trapezoid unique_all unique_counts unique_inverse unique_values unstack vecdot vecmat asmatrix busday_count "
    "busday_offset datetime_as_string datetime_data fromregex get_include getbufsize geterr geterrcall info is_busday "
    "histogram_bin_edges nanpercentile nanquantile nested_iters polyder polydiv polyint setbufsize seterrcall "
    "show_runtime test"
)
#: What `cupy.linalg` has of NumPy's.
LINALG = "LinAlgError cholesky det eigh eigvalsh inv lstsq matrix_power matrix_rank norm pinv qr slogdet solve svd"
#: How often a program waited for the device ("syncs") and launched a kernel of its own, by name.
counts: Counter[str] = Counter()
#: Order in which the threads of a block run, and the memory of the device in bytes.
settings = {"order": 0, "memory": 1 << 30, "devices": 1, "driver": None, "libraries": None}
_held = Counter()  # bytes of the arrays alive, by device


class OutOfMemoryError(MemoryError):
    """cupy.cuda.memory.OutOfMemoryError."""


class CUDARuntimeError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""


class _Memory:
    """What an array holds of the device's memory; given back when nothing refers to it."""

    def __init__(self, size: int):
        if _held["bytes"] + size > settings["memory"]:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes (allocated so far: {_held['bytes']} bytes).")
        _held["bytes"] += size
        self.size = size

    def __del__(self):
        if hasattr(self, "size"):
            _held["bytes"] -= self.size


class ndarray:
    """cupy.ndarray: a NumPy array that must be asked for."""

    __array_priority__ = 1000
    __hash__ = None

    def __init__(self, array, memory=None):
        self._a = array
        self._memory = memory if memory is not None else _Memory(array.nbytes)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or kwargs or any(isinstance(x, np.ndarray) for x in inputs):
            raise TypeError("a NumPy ufunc or array met an array on the device")
        with np.errstate(all="ignore"):  # numbers of NumPy are welcome, on the left too
            return _wrap(ufunc(*map(_unwrap, inputs)))

    @property
    def device(self):
        return Device(0)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._a.ctypes.data, copy_from_host_async=self._from_host)

    def _from_host(self, address, size, stream=None):
        import ctypes

        counts["copies"] += 1
        ctypes.memmove(self._a.ctypes.data, address.value, size)

    def set(self, array, stream=None):
        if not isinstance(array, np.ndarray) or array.dtype != self.dtype or array.shape != self.shape:
            raise TypeError("only a NumPy array of the same type and shape can be set")
        if not (self._a.flags.c_contiguous or self._a.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        self._a[...] = array

    def get(self, stream=None, order="C", out=None, blocking=True):
        counts["syncs"] += blocking
        if out is not None:
            if not isinstance(out, np.ndarray) or out.dtype != self.dtype or out.shape != self.shape:
                raise TypeError("out is no NumPy array of this type and shape")
            if not (out.flags.c_contiguous or out.flags.f_contiguous):
                raise RuntimeError("`out` must be contiguous")
            out[...] = self._a
            return out
        return np.array(self._a, order=order)

    def item(self):
        counts["syncs"] += 1
        return self._a.item()

    def tolist(self):
        counts["syncs"] += 1
        return self._a.tolist()

    def __float__(self):
        counts["syncs"] += 1
        return float(self._a)

    def __int__(self):
        counts["syncs"] += 1
        return int(self._a)

    __index__ = __int__

    def __bool__(self):
        counts["syncs"] += 1
        return bool(self._a)

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self._a)))

    def __repr__(self):
        return f"fake {self._a!r}"

    def __getitem__(self, key):
        return _wrap(self._a[_unwrap_key(key)], self)

    def __setitem__(self, key, value):
        self._a[_unwrap_key(key)] = _unwrap(value)

    def __dlpack__(self, **kwargs):
        raise BufferError("the fake device has no DLPack")

    def __dlpack_device__(self):
        return (2, 0)

    def astype(self, dtype, order="K", casting="unsafe", subok=None, copy=True):
        found = self._a.astype(dtype, order=order, copy=copy)
        return self if found is self._a else ndarray(found)


class Device:
    """cupy.cuda.Device."""

    def __init__(self, device=0):
        self.id = device.id if isinstance(device, Device) else device or 0
        if self.id >= max(1, settings["devices"]):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __enter__(self):
        _devices.append(self)
        return self

    def __exit__(self, *args):
        _devices.pop()

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def synchronize(self):
        counts["syncs"] += 1

    def use(self):
        _devices[-1] = self


_devices = [Device(0)]


def _wrap(value, owner=None):
    if isinstance(value, tuple | list) and not isinstance(value, str):
        wrapped = [_wrap(v) for v in value]
        return type(value)(wrapped) if type(value) in (tuple, list) else type(value)(*wrapped)
    if isinstance(value, np.ndarray):
        shared = owner is not None and value.base is not None and np.may_share_memory(value, owner._a)
        return ndarray(value, owner._memory if shared else None)
    if isinstance(value, np.generic):
        return ndarray(np.asarray(value))
    return value


def _unwrap(value):
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: a NumPy array among those of the device")
    if isinstance(value, tuple | list):
        return type(value)(_unwrap(v) for v in value)
    return value


def _unwrap_key(key):
    if isinstance(key, tuple):
        return tuple(_unwrap_key(k) for k in key)
    return key._a if isinstance(key, ndarray) else key


def _operator(name):
    def method(self, *others):
        for other in others:
            if isinstance(other, np.ndarray) and other.ndim:
                raise TypeError("a NumPy array met an array on the device")
        if not all(isinstance(o, ndarray | int | float | complex | np.generic) for o in others):
            return NotImplemented
        with np.errstate(all="ignore"):
            return _wrap(getattr(np.asarray(self._a), name)(*map(_unwrap, others)))

    return method


def _in_place(name):
    def method(self, other):
        with np.errstate(all="ignore"):
            getattr(self._a, name)(_unwrap(other))
        return self

    return method


for _name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"]:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__"))
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in ["lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert"]:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in ["shape", "ndim", "dtype", "size", "nbytes", "itemsize", "strides", "flags"]:
    setattr(ndarray, _name, property(lambda self, name=_name: getattr(self._a, name)))
ndarray.T = property(lambda self: _wrap(self._a.T, self))
METHODS = "sum min max any all mean copy ravel reshape fill dot transpose argmax argmin cumsum clip std var"
for _name in METHODS.split():

    def _method(self, *args, _name=_name, **kwargs):
        return _wrap(getattr(self._a, _name)(*map(_unwrap, args), **{k: _unwrap(v) for k, v in kwargs.items()}), self)

    setattr(ndarray, _name, _method)


def _function(function):
    def wrapper(*args, **kwargs):
        kwargs.pop("stream", None)
        with np.errstate(all="ignore"):
            found = function(*map(_unwrap, args), **{k: _unwrap(v) for k, v in kwargs.items()})
        owner = next((a for a in args if isinstance(a, ndarray)), None)
        return _wrap(found, owner)

    wrapper.__name__ = getattr(function, "__name__", "function")
    return wrapper


def _numpys() -> types.ModuleType:
    """Return a module with what NumPy and CuPy share: functions take and return arrays of the device."""
    cupy = types.ModuleType("cupy")
    for name in np.__all__:
        value = getattr(np, name)
        if name in NOT_THERE.split() or name == "ndarray" or isinstance(value, types.ModuleType):
            continue
        is_plain = isinstance(value, type) or not callable(value) or name in ("finfo", "iinfo", "dtype", "result_type")
        setattr(cupy, name, value if is_plain or name in ("can_cast", "promote_types") else _function(value))
    cupy.ndarray, cupy.__version__ = ndarray, "14.0.0"
    cupy.result_type = lambda *args: np.result_type(*(a._a if isinstance(a, ndarray) else a for a in args))
    cupy.finfo, cupy.iinfo, cupy.dtype = np.finfo, np.iinfo, np.dtype
    return cupy


def _asarray(a, dtype=None, order=None, **kwargs):
    if isinstance(a, ndarray):
        found = np.asarray(a._a, dtype=dtype, order=order)
        return a if found is a._a else ndarray(found)
    if isinstance(a, list | tuple) and any(isinstance(v, ndarray) for v in a):
        return ndarray(np.asarray([v._a for v in a], dtype=dtype))
    return ndarray(np.array(a, dtype=dtype, order=order or "K"))


def _array(a, dtype=None, copy=True, order="K", ndmin=0):
    found = _asarray(a, dtype)
    return found.copy() if found is a and copy else found


def _asnumpy(a, stream=None, order="C", out=None, blocking=True):
    return a.get(out=out) if isinstance(a, ndarray) else np.asarray(a)


def _rubbish(shape, dtype=float, order="C"):
    """Return an array as `empty` may leave it: of NaN, or of -1."""
    a = np.empty(shape, dtype=dtype, order=order)
    a.view(np.uint8).fill(0xFF) if a.flags.c_contiguous and a.ndim and a.size else a.fill(np.array(-1, a.dtype))
    return ndarray(a)


def _linalg() -> types.ModuleType:
    linalg = types.ModuleType("cupy.linalg")
    for name in LINALG.split():
        value = getattr(np.linalg, name)
        setattr(linalg, name, value if isinstance(value, type) else _function(value))
    linalg.cholesky = _cholesky
    return linalg


def _build() -> dict[str, types.ModuleType]:
    """Return the modules by name."""
    cupy, cuda, linalg = _numpys(), _cuda(), _linalg()
    cupy.asarray, cupy.array, cupy.asnumpy, cupy.empty = _asarray, _array, _asnumpy, _rubbish
    cupy.empty_like = lambda a, **kwargs: _rubbish(a.shape, kwargs.get("dtype", a.dtype))
    cupy.get_array_module = lambda *args: cupy if any(isinstance(a, ndarray) for a in args) else np
    fft = types.ModuleType("cupy.fft")
    for name in np.fft.__all__:
        setattr(fft, name, _function(getattr(np.fft, name)))
    cupy.linalg, cupy.fft, cupy.cuda = linalg, fft, cuda
    pool = types.SimpleNamespace(free_all_blocks=_freed, used_bytes=lambda: _held["bytes"], total_bytes=_pool)
    cupy.get_default_memory_pool = lambda: pool
    cupy.get_default_pinned_memory_pool = lambda: types.SimpleNamespace(free_all_blocks=lambda: None)
    cupy.RawModule = RawModule
    cupy.from_dlpack = lambda a: a
    cupy.random = types.SimpleNamespace(default_rng=_Generator)
    device = types.ModuleType("cupy.cuda.device")
    device.Device = Device
    modules = {"cupy": cupy, "cupy.linalg": linalg, "cupy.fft": fft, "cupy.cuda": cuda, "cupy.cuda.device": device}
    cublas = types.ModuleType("cupy.cublas")
    cublas.syrk = _syrk
    modules["cupy.cublas"] = cupy.cublas = cublas
    modules.update(_cupyx())
    return modules


def _syrk(trans, a, out=None, alpha=1.0, beta=0.0, lower=False):
    """cupy.cublas.syrk: one triangle alone is written; an array in the other order would be copied."""
    assert trans == "T"
    assert a._a.flags.c_contiguous == out._a.flags.c_contiguous, "syrk copies its argument"
    keep = np.tril_indices(out.shape[0]) if lower else np.triu_indices(out.shape[0])
    with np.errstate(all="ignore"):
        out._a[keep] = (alpha * (a._a.T @ a._a) + beta * out._a)[keep]
    counts["syrk"] += 1
    return out


class RawModule:
    """cupy.RawModule: compiled by g++."""

    def __init__(self, *, code, options=(), name_expressions=None, **kwargs):
        self.code, self.options = code, options

    def get_function(self, name):
        def launch(grid, block, args, *, shared_mem=0):
            if shared_mem > 48 * 1024:
                raise CUDARuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
            counts[name] += 1
            counts["launches"] += 1
            host = Kernel(self.code, name, settings["order"])
            if any(a is None for a in args):
                raise TypeError("CuPy 13 passes None as the address 0xffffffff")
            args = tuple(None if isinstance(a, np.uintp) and a == 0 else a for a in args)
            plain = tuple(a._a if isinstance(a, ndarray) else a for a in args)
            if any(isinstance(a, np.ndarray) and not isinstance(b, ndarray) for a, b in zip(plain, args, strict=True)):
                raise TypeError("You are trying to pass a numpy.ndarray as a kernel parameter.")
            host(grid, block, plain, shared_mem=shared_mem)

        return launch


def _compiler():
    if settings["libraries"] is not None:
        raise RuntimeError(settings["libraries"])
    return 12, 9


def _freed():
    counts["freed"] += 1


def _pool():
    return _held["bytes"]


_linalg_error = types.SimpleNamespace(mode="ignore")


def _cholesky(a):
    """Return what cuSOLVER leaves behind where a matrix is indefinite, unless errors are asked for."""
    try:
        return ndarray(np.linalg.cholesky(a._a))
    except np.linalg.LinAlgError:
        if _linalg_error.mode == "raise":
            raise
        return ndarray(np.tril(np.abs(a._a)) + 1.0)


def _cuda() -> types.ModuleType:
    cuda = types.ModuleType("cupy.cuda")
    cuda.Device = Device
    cuda.Stream, cuda.Event = _Stream, _Event
    cuda.get_current_stream = lambda: _Stream()
    cuda.get_elapsed_time = lambda begin, end: 1.0
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cuda.alloc_pinned_memory = _pinned
    cuda.nvrtc = types.SimpleNamespace(getVersion=_compiler)
    cuda.cublas = cuda.cusolver = cuda.cusparse = types.SimpleNamespace()

    def count():
        if settings["driver"] is not None:
            raise CUDARuntimeError(settings["driver"])
        return settings["devices"]

    cuda.runtime = types.SimpleNamespace(
        getDeviceCount=count,
        CUDARuntimeError=CUDARuntimeError,
        runtimeGetVersion=lambda: 12090,
        memGetInfo=lambda: (settings["memory"] - _held["bytes"], settings["memory"]),
        getDevice=lambda: _devices[-1].id,
        getDeviceProperties=lambda k: {"name": b"fake device"},
    )
    return cuda


class _Generator:
    """cupy.random.Generator."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def __getattr__(self, name):
        return _function(getattr(self._rng, name))


class _Stream:
    """cupy.cuda.Stream: everything happens at once, but only waiting is allowed to rely on it."""

    def __init__(self, null=False, non_blocking=False, ptds=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def synchronize(self):
        counts["stream waits"] += 1

    def record(self, event=None):
        return event or _Event()

    def wait_event(self, event):
        counts["event waits"] += 1


class _Event:
    """cupy.cuda.Event."""

    def __init__(self, *args, **kwargs):
        pass

    def record(self, stream=None):
        pass

    def synchronize(self):
        counts["event waits"] += 1


class _pinned(bytearray):
    """cupy.cuda.alloc_pinned_memory: memory with the buffer protocol."""

    def __init__(self, size):
        super().__init__(size)


def _cupyx() -> dict[str, types.ModuleType]:
    names = ["cupyx", "cupyx.scipy", "cupyx.scipy.linalg", "cupyx.scipy.sparse"]
    cupyx, cupyx_scipy, linalg, sparse = (types.ModuleType(name) for name in names)
    cupyx.scipy, cupyx_scipy.linalg, cupyx_scipy.sparse = cupyx_scipy, linalg, sparse

    def solve_triangular(a, b, trans=0, lower=False, **kwargs):
        from scipy.linalg import solve_triangular as solve

        return ndarray(solve(a._a, b._a, trans=trans, lower=lower, check_finite=False))

    @contextlib.contextmanager
    def errstate(linalg="ignore", **kwargs):
        before, _linalg_error.mode = _linalg_error.mode, linalg
        try:
            yield
        finally:
            _linalg_error.mode = before

    linalg.solve_triangular, cupyx.errstate = solve_triangular, errstate
    sparse.csr_matrix, sparse.issparse = csr_matrix, lambda X: isinstance(X, csr_matrix)
    sparse.csc_matrix, sparse.isspmatrix_csr = csc_matrix, lambda X: type(X) is csr_matrix
    return dict(zip(names, (cupyx, cupyx_scipy, linalg, sparse), strict=True))


class csr_matrix:
    """cupyx.scipy.sparse.csr_matrix, as far as the package uses it."""

    format = "csr"
    _type = staticmethod(scipy.sparse.csr_matrix)
    __hash__ = None

    def __init__(self, arg, shape=None, dtype=None):
        if isinstance(arg, tuple):
            arg = self._type(tuple(map(_unwrap, arg)), shape=shape)
        host = self._type(arg)
        self.shape, self.nnz, self.dtype, self.ndim = host.shape, host.nnz, host.dtype, 2
        self.data, self.indices, self.indptr = (ndarray(a.copy()) for a in (host.data, host.indices, host.indptr))

    def _host(self):
        parts = (self.data._a, self.indices._a, self.indptr._a)
        return self._type(parts, shape=self.shape)

    def get(self, stream=None):
        counts["syncs"] += 1
        return self._host()

    @property
    def has_canonical_format(self):
        return bool(self._host().has_canonical_format)

    def sum_duplicates(self):
        host = self._host().copy()
        host.sum_duplicates()
        self.data, self.indices, self.indptr = (ndarray(a.copy()) for a in (host.data, host.indices, host.indptr))

    def copy(self):
        return type(self)(self._host().copy())

    def tocsc(self):
        return csc_matrix(self._host().tocsc())

    def tocsr(self):
        return csr_matrix(self._host().tocsr())

    def toarray(self):
        return ndarray(self._host().toarray())

    def __abs__(self):
        return type(self)(abs(self._host()))

    def max(self, axis=None):
        return csr_matrix(scipy.sparse.csr_matrix(self._host().max(axis=axis)))

    def astype(self, dtype, copy=True):
        return type(self)(self._host().astype(dtype))

    def __getitem__(self, key):
        return csr_matrix(self._host()[_unwrap_key(key)])

    def __matmul__(self, other):
        return ndarray(np.asarray(self._host() @ other._a))


class csc_matrix(csr_matrix):
    """cupyx.scipy.sparse.csc_matrix."""

    format = "csc"
    _type = staticmethod(scipy.sparse.csc_matrix)


for _kind in (csr_matrix, csc_matrix):
    _kind.__module__ = "cupyx.scipy.sparse"
MODULES = _build()
#: Modules that hold names of CuPy: imported anew with the fake, and dropped after it.
STALE = tuple(f"sosolve.kernels.cupy_{part}" for part in ("gpu", "launch", "products", "stream"))
#: The wrapper of array-api-compat around the fake; which one belongs to which arrays it remembers for good.
_wrapper: dict[str, types.ModuleType] = {}


@contextlib.contextmanager
def installed(**changes):
    """Put the fake in the place of CuPy, with other settings for the time."""
    from sosolve.kernels import device

    old, before = dict(settings), _taken(*MODULES, "array_api_compat.cupy")
    _taken(*STALE)
    device.kernel.cache_clear()
    device._compiled.cache_clear()
    sys.modules.update(MODULES | _wrapper)
    settings.update(changes)
    counts.clear()
    owner, device._owner = device._owner, None
    try:
        yield MODULES["cupy"]
    finally:
        device._owner = owner
        settings.clear()
        settings.update(old)
        _wrapper.update(_taken("array_api_compat.cupy"))
        _taken(*MODULES, *STALE)
        sys.modules.update(before)
        device.kernel.cache_clear()
        device._compiled.cache_clear()


@contextlib.contextmanager
def missing():
    """Make CuPy a package that is not installed, whether it is or not; None in its place breaks other packages."""

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "cupy":
                raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

    before = sys.modules.pop("cupy", None)
    sys.meta_path.insert(0, Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(Finder)
        if before is not None:
            sys.modules["cupy"] = before


def _taken(*stems):
    """Remove modules of these names and below, and return them."""
    names = [n for n in sys.modules for stem in stems if n == stem or n.startswith(f"{stem}.")]
    found = {name: sys.modules.pop(name) for name in dict.fromkeys(names)}
    kernels = sys.modules["sosolve.kernels"]
    for name in found:
        if name in STALE:
            vars(kernels).pop(name.rpartition(".")[2], None)
    return found


def to_host(value):
    """Return NumPy arrays for those of the fake, without counting."""
    if isinstance(value, ndarray):
        return value._a
    return tuple(map(to_host, value)) if isinstance(value, tuple) else value
