"""Rows of a host array that pass through the device block by block: for X larger than the card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .pool import run

#: Bytes of one of the two buffers on the device (and of its pinned counterpart): long enough for the transfer to run
#: at full speed.
BUFFER_BYTES = 128 * 2**20


class StreamedRows:
    """A dense X in host memory, handed to kernels as blocks of rows on the device.

    While the kernels of one block run, the next is copied into pinned memory by the threads of the pool and from there
    to the device, on a stream of its own. Two buffers of each kind are all the memory it takes.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        float32 or float64; not copied as a whole.
    buffer_bytes : int, optional
        Bytes of one buffer; `BUFFER_BYTES` where None.

    Attributes
    ----------
    shape, dtype, ndim, nbytes
        Those of X.
    data : cupy.ndarray of shape (0,)
        Says which library and device the results belong to.
    """

    ndim = 2

    def __init__(self, X: np.ndarray, buffer_bytes: int | None = None):
        import cupy

        self.host, self.shape, self.dtype, self.nbytes = X, X.shape, X.dtype, X.nbytes
        n, d = X.shape
        size = BUFFER_BYTES if buffer_bytes is None else buffer_bytes
        self.rows = int(min(n, max(1, size // max(1, d * X.itemsize))))
        self.data = cupy.empty(0, dtype=X.dtype)
        self._pinned, self._device, self._streams = [], [], []
        for _ in range(2):
            memory = cupy.cuda.alloc_pinned_memory(self.rows * d * X.itemsize)
            flat = np.frombuffer(memory, dtype=X.dtype, count=self.rows * d)
            self._pinned.append(flat.reshape(self.rows, d))
            self._device.append(cupy.empty((self.rows, d), dtype=X.dtype))
            self._streams.append(cupy.cuda.Stream(non_blocking=True))

    def blocks(self) -> Iterator[tuple[int, int, Any]]:
        """Yield (start, stop, rows on the device) over all rows, once.

        A block is valid until the next but one is asked for; its kernels belong on the current stream.
        """
        yield from self._through(self.shape[0], lambda start, stop, out: _copy(self.host[start:stop], out))

    def gathered(self, rows: np.ndarray) -> Any:
        """Return the rows of those numbers as one array on the device."""
        import cupy

        out = cupy.empty((len(rows), self.shape[1]), dtype=self.dtype)

        def fill(start, stop, buffer):
            np.take(self.host, rows[start:stop], axis=0, out=buffer, mode="clip")

        for start, stop, block in self._through(len(rows), fill):
            out[start:stop] = block
        return out

    def _through(self, n, fill) -> Iterator[tuple[int, int, Any]]:
        """Yield blocks of n rows that fill(start, stop, pinned rows) writes."""
        import cupy

        current = cupy.cuda.get_current_stream()
        used = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        for event in used:
            event.record(current)  # whoever used the buffers before has launched on this stream
        for number, start in enumerate(range(0, n, self.rows)):
            slot, stop = number % 2, min(start + self.rows, n)
            used[slot].synchronize()  # the kernels of the block before the last one have read this buffer
            fill(start, stop, self._pinned[slot][: stop - start])
            block, stream = self._device[slot][: stop - start], self._streams[slot]
            block.set(self._pinned[slot][: stop - start], stream=stream)
            current.wait_event(stream.record())
            yield start, stop, block
            used[slot].record(current)


def to_device(X: np.ndarray) -> Any:
    """Return a copy of a host array on the device in C order, through pinned buffers."""
    import cupy

    if X.ndim != 2 or X.nbytes <= BUFFER_BYTES:
        return cupy.asarray(X, order="C")
    stream = StreamedRows(X, BUFFER_BYTES // 4)
    out = cupy.empty(X.shape, dtype=X.dtype)
    for start, stop, block in stream.blocks():
        out[start:stop] = block
    cupy.cuda.get_current_stream().synchronize()  # the buffers go back to their pools
    return out


def to_host(array: Any, out: np.ndarray) -> None:
    """Copy an array in C order from the device to one of the same type and shape, through pinned buffers.

    Fresh memory of the host is made ready page by page, which the threads of the pool share; while they copy one buffer
    the next arrives.
    """
    import cupy

    if out.nbytes <= BUFFER_BYTES // 4 or not out.flags.c_contiguous:
        out[...] = array.get()
        return
    flat, target = array.reshape(-1), out.reshape(-1)
    size = BUFFER_BYTES // 8 // out.itemsize
    starts = range(0, flat.size, size)
    stream, memory = cupy.cuda.get_current_stream(), []
    for _ in range(2):
        pinned = cupy.cuda.alloc_pinned_memory(size * out.itemsize)
        memory.append(np.frombuffer(pinned, dtype=out.dtype, count=size))
    arrived: list[Any] = []
    for number in range(len(starts) + 1):
        if number < len(starts):
            part = flat[starts[number] : starts[number] + size]
            part.get(out=memory[number % 2][: part.size], blocking=False)
            arrived.append(stream.record())
        if number:
            start = starts[number - 1]
            arrived[number - 1].synchronize()
            stop = min(start + size, flat.size)
            _copy(memory[(number - 1) % 2][: stop - start], target[start:stop])


def _copy(source: np.ndarray, out: np.ndarray) -> None:
    """Copy rows over the threads of the pool."""
    count = int(max(1, min(16, source.nbytes // 2**21)))
    edges = [len(source) * k // count for k in range(count + 1)]
    run(lambda k: np.copyto(out[edges[k] : edges[k + 1]], source[edges[k] : edges[k + 1]]), count)
