"""Convolution and pooling of images (N, C, H, W)."""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

from shared.backprop import depthwise
from shared.backprop.module import Array, Module, uniform
from shared.backprop.threads import blocks_of, in_threads, parts_of

Pair = tuple[int, int]


class _Window(Module):
    """Base class: a window of kh x kw positions that slides over padded images.

    In H rows it has Ho = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1 places, and likewise
    Wo in W columns; rows and columns beyond the last place are ignored.
    """

    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair, padding: int | Pair, dilation: int | Pair
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = _pair(kernel_size), _pair(stride)
        self.padding, self.dilation = _pair(padding), _pair(dilation)
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise ValueError(
                f"{self}: kernel_size, stride and dilation must be at least 1 and padding at least 0, "
                f"got {kernel_size}, {stride}, {dilation} and {padding}"
            )

    def _pad(self, x: Array, value: float = 0) -> Array:
        """Return x with `value` around it; raise ValueError if no window fits."""
        (ph, pw), (eh, ew) = self.padding, self._extent()
        if x.shape[2] + 2 * ph < eh or x.shape[3] + 2 * pw < ew:
            size = f"{eh - 2 * ph} x {ew - 2 * pw}"
            raise ValueError(f"{self}: expected images of at least {size} pixels, got {x.shape}")
        if ph == pw == 0:
            return x
        return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=value)

    def _extent(self) -> Pair:
        """Return how many rows and columns a window spans, including its gaps."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def _positions(self, padded: Array) -> Iterator[Array]:
        """Yield the pixels at each position of the window, over all its places: views (N, C, Ho, Wo)."""
        (sh, sw), (dh, dw), (eh, ew) = self.stride, self.dilation, self._extent()
        bottom, right = padded.shape[2] - eh + 1, padded.shape[3] - ew + 1
        for i in range(0, eh, dh):
            for j in range(0, ew, dw):
                yield padded[:, :, i : i + bottom : sh, j : j + right : sw]

    def _crop(self, padded: Array) -> Array:
        """Return padded images without their padding."""
        (ph, pw), (height, width) = self.padding, padded.shape[2:]
        return padded[:, :, ph : height - ph, pw : width - pw]


class Conv2d(_Window):
    """y[n, o, r, c] = b[o] + sum_(k, i, j) W[o, k, i, j] x[n, k, stride r + dilation i, ...].

    This is a cross-correlation: the kernel is not flipped. k runs over the input channels of o's group.

    Shapes: x (N, in_channels, H, W), y (N, out_channels, Ho, Wo); weight W (out_channels,
    in_channels / groups, kh, kw), bias b (out_channels,). Initial values, as in torch:
    U(-1/sqrt(K), 1/sqrt(K)) with K = in_channels / groups * kh * kw.

    The windows of an image, one per column, form a matrix X (K, Ho * Wo) (im2col), and W becomes a
    matrix (out_channels, K). Then (Chellapilla et al. 2006)
        forward:   Y = W X + b
        backward:  dW = sum_n dY X^T    db = sum dY    dX = W^T dY
    and the dx of a pixel is the sum of its dX over all windows that contain it. If each channel is a
    group with one output (depthwise convolution), depthwise.py computes the same with less copying.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        super().__init__(kernel_size, stride, padding, dilation)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{self}: the channels must be divisible by {groups} groups")
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        bound = float(np.prod(shape[1:])) ** -0.5
        self.params["weight"] = uniform(rng, bound, shape, dtype)
        if bias:
            self.params["bias"] = uniform(rng, bound, (out_channels,), dtype)

    def __repr__(self) -> str:
        return f"Conv2d({self.in_channels}, {self.out_channels}, {self.kernel_size})"

    def forward(self, x: Array) -> Array:
        """Return y."""
        weight = self.params["weight"]
        self._check("an input", x, ("N", self.in_channels, "H", "W"), weight.dtype)
        padded = self._pad(x)
        if self._is_depthwise():
            y, kept = depthwise.forward(padded, weight, self.stride, self.dilation)
        else:
            y, kept = self._multiply_windows(padded), padded
        if "bias" in self.params:
            y += self.params["bias"][:, None, None]
        return self._keep(y, kept, padded.shape)

    def backward(self, dy: Array) -> Array:
        """Return dx; `grads` then holds dW and db."""
        kept, padded_shape = self._recall(dy)
        if self._is_depthwise():
            weight = self.params["weight"]
            dx, dweight = depthwise.backward(dy, kept, weight, padded_shape, self.stride, self.dilation)
        else:
            dx, dweight = self._backward_windows(dy, kept)
        self.grads["weight"] = dweight
        if "bias" in self.params:
            self.grads["bias"] = dy.sum(axis=(0, 2, 3))
        return self._crop(dx)

    def _multiply_windows(self, padded: Array) -> Array:
        """Return W X without the bias."""
        windows = self._windows(padded)
        y = np.empty((len(padded), self.out_channels, *windows.shape[4:]), padded.dtype)
        y_matrix = self._by_group(y)

        def compute(images: slice) -> None:
            for block in blocks_of(images, windows[:1].size):
                np.matmul(self._weight_matrix(), self._matrix(windows[block]), out=y_matrix[block])

        in_threads(compute, parts_of(len(padded), windows.size))
        return y

    def _backward_windows(self, dy: Array, padded: Array) -> tuple[Array, Array]:
        """Return the dx of the padded images, and dW."""
        windows, dy_matrix = self._windows(padded), self._by_group(dy)
        dx = np.zeros(padded.shape, dy.dtype)

        def compute(images: slice) -> Array:
            transposed = np.zeros_like(self._weight_matrix().swapaxes(1, 2), order="C")
            for block in blocks_of(images, windows[:1].size):
                # X dY^T, the transpose of dW, is a quarter faster than dY X^T. The products are added image
                # by image, so that the sum does not depend on the size of the blocks.
                for product in self._matrix(windows[block]) @ dy_matrix[block].swapaxes(2, 3):
                    transposed += product
            for block in blocks_of(images, windows[:1].size):
                self._add_windows(dy[block], dx[block])
            return transposed

        transposed = np.sum(in_threads(compute, parts_of(len(dy), windows.size)), axis=0)
        return dx, transposed.swapaxes(1, 2).reshape(self.params["weight"].shape)

    def _add_windows(self, dy: Array, dx: Array) -> None:
        """Add dX = W^T dY of some images to the pixels of all windows in dx.

        With stride 1, zeros to the right of dy make its rows as long as those of dx. What a position of
        the window adds to a channel is then one run of numbers, which takes half as long as row by row.
        A window of one column needs no zeros, and with a single column of outputs they cost too much.
        """
        weight, (count, _, rows, columns) = self._weight_matrix().swapaxes(1, 2), dy.shape
        width = dx.shape[3]
        if self.stride != (1, 1) or columns in (1, width):
            dmatrix = weight @ self._by_group(dy)
            dwindows = dmatrix.reshape(count, self.in_channels, -1, rows, columns)
            positions = self._positions(dx)
        else:
            spread = np.zeros((count, self.out_channels, rows, width), dy.dtype)
            spread[..., :columns] = dy
            dmatrix = weight @ self._by_group(spread)
            dwindows = dmatrix.reshape(count, self.in_channels, -1, rows * width)
            positions = self._runs(dx, rows * width - (width - columns))
        for position, pixels in enumerate(positions):
            pixels += dwindows[:, :, position, : pixels.shape[2]]

    def _runs(self, padded: Array, length: int) -> Iterator[Array]:
        """Yield the pixels from each position of the first window on, as views (N, C, length)."""
        flat = padded.reshape(*padded.shape[:2], -1)
        (dh, dw), (eh, ew) = self.dilation, self._extent()
        for i in range(0, eh, dh):
            for start in range(i * padded.shape[3], i * padded.shape[3] + ew, dw):
                yield flat[:, :, start : start + length]

    def _windows(self, padded: Array) -> Array:
        """Return a view (N, C, kh, kw, Ho, Wo) of all windows."""
        (sh, sw), (dh, dw) = self.stride, self.dilation
        windows = sliding_window_view(padded, self._extent(), axis=(2, 3))
        windows = windows[:, :, ::sh, ::sw, ::dh, ::dw]  # (N, C, Ho, Wo, kh, kw)
        return windows.transpose(0, 1, 4, 5, 2, 3)

    def _matrix(self, windows: Array) -> Array:
        """Return X of each group and image, (N, groups, K, Ho * Wo)."""
        count, channels, kh, kw, rows, columns = windows.shape
        return windows.reshape(count, self.groups, channels // self.groups * kh * kw, rows * columns)

    def _by_group(self, y: Array) -> Array:
        """Return outputs, or their gradients, as matrices (N, groups, out_channels / groups, Ho * Wo)."""
        count, channels, rows, columns = y.shape
        return y.reshape(count, self.groups, channels // self.groups, rows * columns)

    def _is_depthwise(self) -> bool:
        return self.groups == self.in_channels == self.out_channels > 1

    def _weight_matrix(self) -> Array:
        """Return the weight as one matrix per group, (groups, out_channels / groups, K)."""
        return self.params["weight"].reshape(self.groups, self.out_channels // self.groups, -1)


class _Pool2d(_Window):
    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> None:
        super().__init__(kernel_size, kernel_size if stride is None else stride, padding, dilation)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"{self}: padding must be at most half of the window, got {self.padding}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kernel_size})"


class MaxPool2d(_Pool2d):
    """y = the maximum of x in each window; padding counts as minus infinity.

    Shapes: x (N, C, H, W), y (N, C, Ho, Wo); stride defaults to kernel_size.

    Backward: dx is the sum of dy over the windows whose maximum the pixel is; among equal pixels the
    first one, row by row, is the maximum.
    """

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("N", "C", "H", "W"))
        padded = self._pad(x, -np.inf)
        first, *others = self._positions(padded)
        y, winner = first.copy(), np.zeros(first.shape, np.int16)
        for position, pixels in enumerate(others, start=1):
            larger = pixels > y
            np.copyto(y, pixels, where=larger)
            np.copyto(winner, np.int16(position), where=larger)
        return self._keep(y, winner, padded.shape)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        winner, padded_shape = self._recall(dy)
        dx = np.zeros(padded_shape, dy.dtype)
        for position, pixels in enumerate(self._positions(dx)):
            pixels += np.where(winner == position, dy, 0)
        return self._crop(dx)


class AvgPool2d(_Pool2d):
    """y = the mean of x in each window.

    Shapes: x (N, C, H, W), y (N, C, Ho, Wo); stride defaults to kernel_size. Padding counts as zeros
    if count_include_pad, which is torch's default; otherwise it is left out, as in Keras.

    Backward: dx is the sum of dy / n over the windows that contain the pixel, where n is the number
    of pixels that count in the window.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        *,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = count_include_pad

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("N", "C", "H", "W"))
        padded = self._pad(x)
        inside = np.ones((1, 1, *x.shape[2:]), x.dtype)
        counted = self._pad(inside, float(self.count_include_pad))
        n = sum(self._positions(counted))
        return self._keep(sum(self._positions(padded)) / n, n, padded.shape)  # type: ignore[arg-type]

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        n, padded_shape = self._recall(dy)
        dx = np.zeros(padded_shape, dy.dtype)
        for pixels in self._positions(dx):
            pixels += dy / n
        return self._crop(dx)


class AdaptiveAvgPool2d(Module):
    """y = the mean of each channel of each image; output_size must be 1.

    Shapes: x (N, C, H, W), y (N, C, 1, 1). Backward: dx = dy / (H W), the same for every pixel.
    """

    def __init__(self, output_size: int | Pair = 1) -> None:
        super().__init__()
        if _pair(output_size) != (1, 1):
            raise ValueError(f"{self}: output_size must be 1, got {output_size}")

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("N", "C", "H", "W"))
        return self._keep(x.mean(axis=(2, 3), keepdims=True), x.shape)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (shape,) = self._recall(dy)
        return np.broadcast_to(dy / np.asarray(shape[2] * shape[3], dy.dtype), shape).copy()


def _pair(size: int | Pair) -> Pair:
    if isinstance(size, int | np.integer):
        return int(size), int(size)
    return size[0], size[1]
