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
    """Fill ``output`` with the averages that RoIAlign computes for each region.

    Args:
        input: Feature map, (batch, channels, height, width).
        rois: Regions, (n, 5), as index of the image, x1, y1, x2 and y2.
        output: Pooled features, (n, channels, aligned_height, aligned_width).
        argmax_y: Unused buffer of max pooling.
        argmax_x: Unused buffer of max pooling.
        aligned_height: Number of rows of bins.
        aligned_width: Number of columns of bins.
        spatial_scale: Ratio of coordinates in ``input`` to those in ``rois``.
        sampling_ratio: Number of samples of a bin in each direction; 0 takes as many as the bin has pixels, rounded up.
        pool_mode: Kind of pooling: 1 for averages. 0 for maxima needs the compiled operator.
        aligned: Whether the centre of a pixel, rather than its corner, has the coordinates of its index.

    Raises:
        NotImplementedError: If ``pool_mode`` is not 1.
        RuntimeError: If a region ends before it starts, with ``aligned`` on the CPU.
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
        raise NotImplementedError(
            f"MMCV's operator roi_align with pool_mode='max' is available only in compiled form. {COMPILED}."
        )


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill ``output`` with the maxima of each region's bins, and ``argmax`` with their positions, -1 for empty bins.

    torchvision rounds a region to whole pixels before it divides it into bins, while MMCV rounds the bins. Therefore,
    each bin is passed to torchvision as a region of its own.

    Args:
        input: Feature map, (batch, channels, height, width).
        rois: Regions, (n, 5), as index of the image, x1, y1, x2 and y2; x2 and y2 belong to the region.
        output: Maxima, (n, channels, pooled_height, pooled_width).
        argmax: Positions of the maxima, of the shape of ``output`` and type int32: row * width + column.
        pooled_height: Number of rows of bins.
        pooled_width: Number of columns of bins.
        spatial_scale: Ratio of coordinates in ``input`` to those in ``rois``.
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
    # as the compiled operator does, both buffers stay unchanged for a region without extent
    given = (has_width & has_height)[:, None, None, None]
    output.copy_(torch.where(given, maxima.masked_fill(empty, 0).to(output.dtype), output))
    argmax.copy_(torch.where(given, places.masked_fill(empty, -1), argmax))


def _bin_edges(start: Tensor, stop: Tensor, bins: int, pixels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the bins' first pixels and those after their last, (n, bins), and whether regions have extent, (n,)."""
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
    """Add each gradient of ``grad_output`` to ``grad_input`` at the position of its maximum."""
    batch, channels, height, width = grad_input.shape
    image = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    place = image[:, :, None, None] * (height * width) + argmax.clamp(min=0)
    grad = torch.where(argmax >= 0, grad_output, torch.zeros_like(grad_output))
    flat = grad_input.new_zeros(batch * channels * height * width).index_add_(0, place.flatten(), grad.flatten())
    grad_input += flat.view_as(grad_input)
