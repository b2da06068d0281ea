"""Deformable convolution, versions 1 and 2."""

import torch
from torch import Tensor

from mmhybrid.mmcv_ops.precision import computable


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
    """Fill ``output`` with a convolution whose sampling positions are shifted by ``offset`` (version 1).

    Args:
        input: Input map, (batch, in_channels, height, width).
        weight: Weight, (out_channels, in_channels / group, kH, kW).
        offset: Offsets, (batch, deformable_group * 2 * kH * kW, output height, output width), with y and x of each
            position of the kernel.
        output: Output map, (batch, out_channels, output height, output width).
        columns: Unused buffer.
        ones: Unused buffer.
        kW: Width of the kernel, which is unused because ``weight`` has it.
        kH: Height of the kernel, which is unused because ``weight`` has it.
        dW: Horizontal stride.
        dH: Vertical stride.
        padW: Padding at the left and right.
        padH: Padding at the top and bottom.
        dilationW: Horizontal dilation.
        dilationH: Vertical dilation.
        group: Number of groups of channels.
        deformable_group: Number of groups of channels that share offsets.
        im2col_step: Unused number of images in a step, which torchvision chooses itself.
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
    # MMCV does not pass the weight, and its gradient does not depend on its values
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
    """Fill ``output`` with a convolution whose sampling positions are shifted by ``offset`` and weighted by ``mask``.

    This is version 2. ``mask`` has the shape (batch, deformable_group * kernel_h * kernel_w, output height, output
    width), and ``bias`` has the shape (out_channels,). The other arguments are those of :func:`deform_conv_forward`.
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
    """Fill the gradients of :func:`modulated_deform_conv_forward`; ``grad_bias`` is filled only if ``with_bias``."""
    where = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    grads = _deform_conv_grads(grad_output, input, weight, offset, mask, bias if with_bias else None, where)
    targets = (grad_input, grad_weight, grad_offset, grad_mask) + ((grad_bias,) if with_bias else ())
    for target, grad in zip(targets, grads, strict=False):
        target.copy_(grad)


def _deform_conv(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, where: tuple[int, ...]
) -> Tensor:
    given = [computable(value) for value in _with_blanks(input, weight, offset, mask, bias)]
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
    """Return the gradients of input, weight, offset, mask and bias."""
    given = [computable(value) for value in (grad, *_with_blanks(input, weight, offset, mask, bias))]
    return torch.ops.torchvision._deform_conv2d_backward(*given, *where, mask is not None)


def _with_blanks(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, ...]:
    """Return the arguments with placeholder tensors instead of None, which torchvision's operator does not accept."""
    blank_mask = input.new_zeros((len(input), 1)) if mask is None else mask
    blank_bias = input.new_zeros(len(weight)) if bias is None else bias
    return input, weight, offset, blank_mask, blank_bias
