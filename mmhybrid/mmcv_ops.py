"""A stand-in for ``mmcv._ext``, MMCV's compiled operators, on those of torchvision.

mmcv-lite holds all of ``mmcv.ops`` but this compiled module, which takes a compiler and ten minutes, and cannot be
built on a torch that needs C++20 (2.14). :func:`install` lets Python find this one instead, where nothing else provides
``mmcv._ext`` and torchvision's operators load. What detectors and segmentors run is here, forward and backward, on CPU
and CUDA: NMS, soft-NMS, RoIAlign, RoIPool, the sigmoid focal loss, and deformable convolution, versions 1 and 2. Any
other operator raises NotImplementedError with its name when it is called. Names and order of arguments, and which of
them are filled, are MMCV 2.1's (``mmcv/ops/csrc/pytorch/pybind.cpp``); tensors need not be contiguous.

The environment variable :data:`SWITCH` set to ``0`` turns the stand-in off.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from mmhybrid.torch_api import TORCH
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.optional import EXTENSION, is_of_onedl

SWITCH = 'MMHYBRID_MMCV_OPS'
# of the same line of distributions as this MMCV, since both have the module
COMPILED = 'Install MMCV with its compiled operators, beside torch 2.13 or older: ' + (
    '`pip install --no-build-isolation onedl-mmcv`'
    if is_of_onedl('mmcv')
    else '`MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0`, or `make ops` in a clone of mmhybrid'
)
_TINY = torch.finfo(torch.float32).tiny  # FLT_MIN of the compiled kernels
_NAIVE, _LINEAR, _GAUSSIAN = range(3)  # how soft-NMS lowers scores
_AVERAGE = 1  # RoIAlign's pool_mode


def install() -> None:
    """Let Python find the stand-in where nothing else provides ``mmcv._ext``; again is harmless.

    Raises:
        ValueError: If :data:`SWITCH` is neither ``0`` nor ``1``.
    """
    _is_wanted()
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.append(_ExtensionFinder())  # last, so that a compiled module is found first


def find(name: str) -> ModuleSpec | None:
    """The specification of the stand-in; None for any other module, or where it is turned off or cannot be."""
    # compat declares some of torchvision's operators where its library does not load, but not this one
    if name != EXTENSION or not _is_wanted() or not hasattr(torch.ops.torchvision, 'roi_align'):
        return None
    return ModuleSpec(name, _ExtensionLoader(), origin=__name__)


def _is_wanted() -> bool:
    wanted = os.environ.get(SWITCH, '1')
    if wanted not in ('0', '1'):
        raise bad_value(SWITCH, wanted, '0 or 1')
    return wanted == '1'


class _ExtensionFinder(MetaPathFinder):
    """Finds :data:`EXTENSION` after all other finders have failed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What :func:`find` finds."""
        return find(fullname)


class _ExtensionLoader(Loader):
    """Fills the module with :data:`OPERATORS`, and with functions that raise for every other public name."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill ``module``, and say so in the log."""
        vars(module).update(OPERATORS, __getattr__=_unavailable)
        print_log(
            f'MMCV has no compiled operators; mmhybrid stands in for them with those of torchvision '
            f'{version("torchvision")} ({SWITCH}=0 turns this off)',
            logger='current',
            level=logging.INFO,
        )


def _unavailable(name: str) -> Callable[..., NoReturn]:
    if name.startswith('_'):
        raise AttributeError(name)

    def raise_by_name(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f"MMCV's operator {name} exists compiled only, and this MMCV is not. {COMPILED}.")

    return raise_by_name


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that no better box overlaps by more than the threshold, best first.

    Args:
        boxes: (n, 4), x1 y1 x2 y2.
        scores: (n,). Equal ones are taken in their order; MMCV's is not stable.
        iou_threshold: A float32 in MMCV, so that an overlap of 0.1 is not above the threshold 0.1.
        offset: What is added to widths and heights, 0 or 1.
    """
    if boxes.dtype in (torch.float16, torch.bfloat16):
        boxes = boxes.float()  # the area of 256 by 256 pixels overflows in float16
    threshold = _float32(iou_threshold)
    if offset == 0:
        return torch.ops.torchvision.nms(boxes, scores.to(boxes.dtype), threshold)
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    left = scores.sort(descending=True, stable=True).indices
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        width = (torch.minimum(x2[best], x2[left]) - torch.maximum(x1[best], x1[left]) + offset).clamp(min=0)
        height = (torch.minimum(y2[best], y2[left]) - torch.maximum(y1[best], y1[left]) + offset).clamp(min=0)
        shared = width * height
        overlaps = shared / (areas[best] + areas[left] - shared)
        left = left[~(overlaps > threshold)]  # boxes without area overlap by NaN, and stay
    return torch.stack(kept) if kept else left


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Indices of the boxes whose scores stay above ``min_score`` while better boxes lower them, best first.

    Fills the first rows of ``dets``, (n, 5), with the boxes and the lowered scores. Tensors are on the CPU, as in MMCV.
    The order of equal scores is the one in which MMCV swaps boxes within its arrays.
    """
    rows = np.concatenate([boxes.detach().numpy(), scores.detach().numpy()[:, None]], axis=1, dtype=_numpy_type(boxes))
    indices = np.arange(len(rows))
    done = 0
    while done < len(rows):
        best = done + _first_highest(rows[done:, 4])
        rows[[done, best]], indices[[done, best]] = rows[[best, done]], indices[[best, done]]
        done += 1
        rows[done:, 4] *= _soft_weights(rows[done - 1], rows[done:], iou_threshold, sigma, method, offset)
        stay = _filled_from_the_end(~(rows[done:, 4] < _float32(min_score))) + done
        rows, indices = (np.concatenate([array[:done], array[stay]]) for array in (rows, indices))
    dets[: len(rows)] = torch.from_numpy(rows)
    return torch.from_numpy(indices)


def _soft_weights(
    best: np.ndarray, rows: np.ndarray, iou_threshold: float, sigma: float, method: int, offset: int
) -> np.ndarray:
    width, height = (
        np.maximum(np.minimum(best[end], rows[:, end]) - np.maximum(best[start], rows[:, start]) + offset, 0)
        for start, end in ((0, 2), (1, 3))
    )
    shared = width * height
    areas = (rows[:, 2] - rows[:, 0] + offset) * (rows[:, 3] - rows[:, 1] + offset)
    area = (best[2] - best[0] + offset) * (best[3] - best[1] + offset)
    with np.errstate(invalid='ignore', divide='ignore'):  # boxes without area
        overlaps = shared / (area + areas - shared)
    if method == _GAUSSIAN:
        return np.exp(-(overlaps * overlaps) / _float32(sigma))
    lowered = 1 - overlaps if method == _LINEAR else np.zeros_like(overlaps)
    return np.where(overlaps >= _float32(iou_threshold), lowered, np.ones_like(overlaps))


def _first_highest(scores: np.ndarray) -> int:
    """Where the first of the highest scores is, found as MMCV does: a NaN is the highest only if it is the first."""
    return 0 if np.isnan(scores[0]) else int(np.nanargmax(scores))


def _filled_from_the_end(stays: np.ndarray) -> np.ndarray:
    """Where an array's elements come from after each one that does not stay is replaced by the last one that does."""
    count = int(stays.sum())
    order = np.arange(count)
    fillers = count + np.flatnonzero(stays[count:])[::-1]
    order[np.flatnonzero(~stays[:count])] = fillers
    return order


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
    values, regions = _computable(input), _computable(rois)
    scale = _float32(spatial_scale)
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
        _computable(grad_output),
        _computable(rois),
        _float32(spatial_scale),
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
    scale = _float32(spatial_scale)
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


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` with the focal loss of each logit.

    Args:
        input: Logits, (n, classes).
        target: Classes, (n,); the number of classes is the background.
        weight: Of each class, (classes,), or empty.
        output: (n, classes).
        gamma: Exponent of the probability that is missing.
        alpha: Weight of the positives; the negatives' is ``1 - alpha``.

    Raises:
        ValueError: If a target is above the number of classes.
    """
    if len(target) and int(target.max()) > input.shape[1]:
        raise bad_value('target', int(target.max()), f'at most {input.shape[1]}, the number of classes')
    p = torch.sigmoid(_single(input))
    positive = -alpha * (1 - p) ** gamma * p.clamp(min=_TINY).log()
    negative = (alpha - 1) * p**gamma * (1 - p).clamp(min=_TINY).log()
    output.copy_(_by_class(positive, negative, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` with the derivative of each loss of :func:`sigmoid_focal_loss_forward`."""
    p = torch.sigmoid(_single(input))
    positive = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * p.clamp(min=_TINY).log())
    negative = (alpha - 1) * p**gamma * (gamma * (1 - p) * (1 - p).clamp(min=_TINY).log() - p)
    grad_input.copy_(_by_class(positive, negative, target, weight))


def _by_class(positive: Tensor, negative: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    classes = torch.arange(positive.shape[1], device=positive.device)
    chosen = torch.where(target[:, None] == classes, positive, negative)
    return chosen if weight.numel() == 0 else chosen * weight[target][:, None]


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill ``output`` with a convolution whose taps are moved by ``offset`` (version 1).

    Args:
        input: (batch, in_channels, height, width).
        weight: (out_channels, in_channels / group, kH, kW).
        offset: (batch, deformable_group * 2 kH kW, height, width) of the output: y and x of each tap.
        output: (batch, out_channels, height, width).
        columns: Not used.
        ones: Not used.
        kW: Width of the kernel; ``weight`` has it.
        kH: Height of the kernel; ``weight`` has it.
        dW: Horizontal stride.
        dH: Vertical stride.
        padW: Padding at the left and right.
        padH: Padding at the top and bottom.
        dilationW: Horizontal dilation.
        dilationH: Vertical dilation.
        group: Groups of channels.
        deformable_group: Groups of channels that share offsets.
        im2col_step: Not used; torchvision chooses how many images it takes at once.
    """
    where = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_deform_conv(input, weight, offset, None, None, where))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill ``gradInput`` and ``gradOffset`` for :func:`deform_conv_forward`."""
    where = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _deform_conv_grads(gradOutput, input, weight, offset, None, None, where)
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the gradient of :func:`deform_conv_forward` with respect to its weight to ``gradWeight``."""
    where = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    # the gradient of the weight does not depend on its values, which MMCV does not hand over
    grads = _deform_conv_grads(gradOutput, input, torch.zeros_like(gradWeight), offset, None, None, where)
    gradWeight.add_(grads[1].to(gradWeight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill ``output`` with a convolution whose taps are moved by ``offset`` and weighted by ``mask`` (version 2).

    ``mask`` is (batch, deformable_group * kernel_h kernel_w, height, width) of the output, ``bias`` (out_channels,),
    the rest as in :func:`deform_conv_forward`.
    """
    where = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    output.copy_(_deform_conv(input, weight, offset, mask, bias if with_bias else None, where))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill the gradients of :func:`modulated_deform_conv_forward`; ``grad_bias`` only ``with_bias``."""
    where = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    grads = _deform_conv_grads(grad_output, input, weight, offset, mask, bias if with_bias else None, where)
    targets = (grad_input, grad_weight, grad_offset, grad_mask) + ((grad_bias,) if with_bias else ())
    for target, grad in zip(targets, grads, strict=False):
        target.copy_(grad)


def _deform_conv(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, where: tuple[int, ...]
) -> Tensor:
    given = [_computable(value) for value in _with_blanks(input, weight, offset, mask, bias)]
    return torch.ops.torchvision.deform_conv2d(*given, *where, mask is not None)


def _deform_conv_grads(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    where: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """The gradients of input, weight, offset, mask and bias."""
    given = [_computable(value) for value in (grad, *_with_blanks(input, weight, offset, mask, bias))]
    return torch.ops.torchvision._deform_conv2d_backward(*given, *where, mask is not None)


def _with_blanks(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, ...]:
    """The arguments as torchvision's operator wants them, which has no None."""
    blank_mask = input.new_zeros((len(input), 1)) if mask is None else mask
    blank_bias = input.new_zeros(len(weight)) if bias is None else bias
    return input, weight, offset, blank_mask, blank_bias


def get_compiler_version() -> str:
    """What MMCV's report of the environment shows as the compiler of its operators."""
    return f'none, mmhybrid stands in with torchvision {version("torchvision")}'


def get_compiling_cuda_version() -> str:
    """What MMCV's report of the environment shows as the CUDA of its operators."""
    return 'not available'


def _float32(value: float) -> float:
    """The number as MMCV's operators take it, in single precision."""
    return float(np.float32(value))


def _computable(value: Tensor) -> Tensor:
    """The tensor, contiguous, in float32 if torchvision's operators do not take its dtype.

    Those on CPUs multiply no float16 with an older torch, and make gradients with the strides of what they are given,
    which may overlap along axes of one; those of torchvision 0.28 (torch 2.13) were seen not to.
    """
    refused = value.dtype == torch.bfloat16 or (value.dtype == torch.float16 and not value.is_cuda and TORCH < (2, 6))
    value = value.float() if refused else value
    return value.clone(memory_format=torch.contiguous_format) if TORCH < (2, 13) else value


def _single(value: Tensor) -> Tensor:
    """The tensor in at least single precision."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _numpy_type(value: Tensor) -> Any:
    return np.float64 if value.dtype == torch.float64 else np.float32


OPERATORS: dict[str, Callable[..., Any]] = {
    operator.__name__: operator
    for operator in (
        nms,
        softnms,
        roi_align_forward,
        roi_align_backward,
        roi_pool_forward,
        roi_pool_backward,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        get_compiler_version,
        get_compiling_cuda_version,
    )
}
