"""Features of regions of interest: RoIAlign and RoIPool."""

import torch
from torch import Tensor

from mmhybrid.mmcv_ops.precision import computable, single_precision
from mmhybrid.mmcv_ops.unavailable import COMPILED

_AVERAGE = 1  # RoIAlign's pool_mode


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` with what RoIAlign averages of each region.

    Args:
        input: (batch, channels, height, width).
        rois: (n, 5), index of the image and x1 y1 x2 y2.
        output: (n, channels, aligned_height, aligned_width).
        argmax_y: Not used, as all of max pooling.
        argmax_x: Not used.
        aligned_height: Bins in a column.
        aligned_width: Bins in a row.
        spatial_scale: Pixels of ``input`` per unit of ``rois``.
        sampling_ratio: Samples of a bin in each direction; 0 takes one per pixel.
        pool_mode: 1, averages; 0, maxima, is compiled only.
        aligned: Whether a pixel's centre, rather than its corner, is at its index.

    Raises:
        RuntimeError: On the CPU, for an aligned region that ends before it starts.
    """
    _check_averaged(pool_mode)
    if aligned and rois.device.type == 'cpu' and not bool((rois[:, 3:] >= rois[:, 1:3]).all()):
        raise RuntimeError('rois: RoIAlign takes no region that ends before it starts')
    values, regions = computable(input), computable(rois)
    scale = single_precision(spatial_scale)
    pooled = torch.ops.torchvision.roi_align(
        values, regions, scale, aligned_height, aligned_width, sampling_ratio, aligned
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input`` with the gradient of :func:`roi_align_forward` with respect to its input."""
    _check_averaged(pool_mode)
    grad = torch.ops.torchvision._roi_align_backward(
        computable(grad_output),
        computable(rois),
        single_precision(spatial_scale),
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(grad)


def _check_averaged(pool_mode: int) -> None:
    if pool_mode != _AVERAGE:
        raise NotImplementedError(f"MMCV's operator roi_align with pool_mode='max' exists compiled only. {COMPILED}.")


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill ``output`` with the maxima of each region's bins and ``argmax`` with their places, -1 for an empty bin.

    torchvision rounds a region to whole pixels before it is divided, MMCV rounds the bins. So each bin is given to
    torchvision as a region of its own.

    Args:
        input: (batch, channels, height, width).
        rois: (n, 5), index of the image and x1 y1 x2 y2, the last pixel included.
        output: (n, channels, pooled_height, pooled_width).
        argmax: As ``output``, of int32: rows times the width plus columns.
        pooled_height: Bins in a column.
        pooled_width: Bins in a row.
        spatial_scale: Pixels of ``input`` per unit of ``rois``.
    """
    height, width = input.shape[2:]
    scale = single_precision(spatial_scale)
    left, right, has_width = _bin_edges(rois[:, 1] * scale, (rois[:, 3] + 1) * scale, pooled_width, width)
    top, bottom, has_height = _bin_edges(rois[:, 2] * scale, (rois[:, 4] + 1) * scale, pooled_height, height)
    shape = (len(rois), pooled_height, pooled_width)
    edges = left[:, None], top[:, :, None], right[:, None] - 1, bottom[:, :, None] - 1
    bins = torch.stack([part.expand(shape) for part in (rois[:, 0, None, None], *edges)], -1).reshape(-1, 5)
    values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
    maxima, places = (
        found.view(*shape, input.shape[1]).permute(0, 3, 1, 2)
        for found in torch.ops.torchvision.roi_pool(values, bins.to(values.dtype), 1.0, 1, 1)
    )
    empty = ((right <= left)[:, None] | (bottom <= top)[:, :, None])[:, None]
    # the compiled operator leaves both buffers of a region without extent as they are
    given = (has_width & has_height)[:, None, None, None]
    output.copy_(torch.where(given, maxima.masked_fill(empty, 0).to(output.dtype), output))
    argmax.copy_(torch.where(given, places.masked_fill(empty, -1), argmax))


def _bin_edges(start: Tensor, stop: Tensor, bins: int, pixels: int) -> tuple[Tensor, Tensor, Tensor]:
    """First pixels of bins and those behind their last, both (n, bins), and which regions have an extent, (n,)."""
    extent = stop - start
    step = (extent / bins)[:, None]
    index = torch.arange(bins, device=start.device, dtype=start.dtype)
    first = (index * step + start[:, None]).floor().clamp(0, pixels)
    behind = ((index + 1) * step + start[:, None]).ceil().clamp(0, pixels)
    return first, behind, extent > 0


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add each gradient of ``grad_output`` to the place in ``grad_input`` that its maximum came from."""
    batch, channels, height, width = grad_input.shape
    image = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    place = image[:, :, None, None] * (height * width) + argmax.clamp(min=0)
    grad = torch.where(argmax >= 0, grad_output, torch.zeros_like(grad_output))
    flat = grad_input.new_zeros(batch * channels * height * width).index_add_(0, place.flatten(), grad.flatten())
    grad_input += flat.view_as(grad_input)
