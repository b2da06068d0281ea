"""The latency of a network by kind of operator (AutoViT, figure 4)."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from mmhybrid.counting.workload import Workload
from mmhybrid.models.classifier import own_generator
from mmhybrid.models.presets import PUBLISHED, build_classifier
from mmhybrid.torch_api import fast_path_off
from mmhybrid.utils.checks import bad_value

KINDS = ('convolution', 'attention', 'mlp', 'norm', 'reshape', 'other')
# Names of operators by kind, without the namespace and the underscores around them.
_OPERATORS = {
    'norm': 'batch_norm layer_norm native_batch_norm native_layer_norm group_norm native_group_norm instance_norm '
    'rms_norm linalg_vector_norm',
    'attention': 'scaled_dot_product_attention softmax bmm baddbmm',
    'mlp': 'linear matmul mm addmm einsum mv addmv',
    'reshape': 'view view_as reshape reshape_as permute transpose t movedim swapaxes flatten unflatten squeeze '
    'unsqueeze cat concat stack hstack split split_with_sizes chunk unbind tensor_split copy clone contiguous expand '
    'expand_as repeat tile pad constant_pad_nd roll select slice narrow index index_select gather im2col col2im unfold '
    'pixel_shuffle pixel_unshuffle to to_copy as_strided '
    'upsample_nearest1d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d',
}
_KIND_OF = {name: kind for kind, names in _OPERATORS.items() for name in names.split()}
_ATTENTION = ('attention', 'attn', 'mhsa', 'msa')
_RESIZED_BY = ('CenterCrop', 'Resize')


def operator_breakdown(model: nn.Module, images: Tensor, runs: int = 10) -> dict[str, float]:
    """Return the milliseconds of a forward pass for each kind of operator.

    Linear layers within a module whose class is named after attention count as ``attention``, all others as ``mlp``.
    Activations and sums are ``other``. The time that Python takes between operators is not included. Torch's own
    transformer layers run operator by operator here, not as the fused operator that they use in eval mode.

    Args:
        model: Any module that takes images, on the device of the images.
        images: (B, C, H, W).
        runs: Number of profiled passes, which follow two unprofiled ones.
    """
    on_gpu = images.is_cuda
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with torch.inference_mode(), fast_path_off(), _attention_labelled(model.eval()):
        for _ in range(2):
            model(images)
        with profile(activities=activities) as profiler:
            for _ in range(runs):
                model(images)
    milliseconds = dict.fromkeys(KINDS, 0.0)
    for event in profiler.events() or ():
        if event.name.startswith('aten::') and not any(_is_operator(parent) for parent in _parents(event)):
            microseconds = event.device_time_total if on_gpu else event.cpu_time_total
            milliseconds[_kind(event)] += microseconds / 1e3 / runs
    return milliseconds


def operator_kind(name: str) -> str:
    """Return the kind of an operator from its name (``aten::softmax``), whatever device it runs on."""
    name = name.removeprefix('aten::').strip('_')
    return 'convolution' if name.startswith(('conv', 'thnn_conv')) else _KIND_OF.get(name, 'other')


def build_named(name: str, workload: Workload) -> tuple[nn.Module, tuple[int, int]]:
    """Build a model, and return it with the height and width of its images.

    Args:
        name: ``smallest`` or ``largest`` for the extreme networks of the space, the name of a preset (``autovit-xxs``,
            built as a classifier), or the name of a model of mmpretrain or timm.
        workload: The networks of the space.

    Raises:
        ValueError: If there is no such model.
    """
    if name in ('smallest', 'largest'):
        arch = getattr(workload.space, name)()
        _, height, width = workload.input_shape(arch)
        return workload.build_network(arch), (height, width)
    with own_generator():
        for preset in PUBLISHED:
            if name == preset.name:
                return build_classifier(preset), (preset.image_size, preset.image_size)
        model, side = _timm_model(name) or _mmpretrain_model(name)
        return model, (side, side)


def _timm_model(name: str) -> tuple[nn.Module, int] | None:
    if importlib.util.find_spec('timm') is None:
        return None
    import timm

    if not timm.is_model(name):
        return None
    model: Any = timm.create_model(name)
    return model, model.pretrained_cfg['input_size'][-1]


def _mmpretrain_model(name: str) -> tuple[nn.Module, int]:
    from mmpretrain import get_model, list_models

    if name not in list_models(name):
        missing = '' if importlib.util.find_spec('timm') else ' (timm is not installed: pip install timm)'
        raise bad_value(
            '--breakdown',
            name,
            f'smallest, largest, a preset or a model of timm or mmpretrain{missing}',
        )
    model = get_model(name)
    return model, _test_side(name, model._config)


def _test_side(name: str, config: Any) -> int:
    """Return the side of the images that the last crop or resize of a model's test pipeline gives."""
    loader = config.get('test_dataloader') or {}
    steps = [step for step in loader.get('dataset', {}).get('pipeline', ()) if step.get('type') in _RESIZED_BY]
    if not steps:
        raise ValueError(f'--breakdown {name}: its config does not say the size of its images')
    side = steps[-1].get('crop_size', steps[-1].get('scale'))
    return int(side if isinstance(side, int) else side[-1])


def _kind(event: Any) -> str:
    kind = operator_kind(event.name)
    if kind == 'mlp' and any(parent.name == 'attention' for parent in _parents(event)):
        return 'attention'
    return kind


def _is_operator(event: Any) -> bool:
    return bool(event.name.startswith('aten::'))


def _parents(event: Any) -> Iterator[Any]:
    while event.cpu_parent is not None:
        event = event.cpu_parent
        yield event


@contextmanager
def _attention_labelled(model: nn.Module) -> Iterator[None]:
    """Label modules of attention, so that the profiler sees which operators run within them."""
    open_labels: list[Any] = []

    def enter(*_: object) -> None:
        open_labels.append(record_function('attention'))
        open_labels[-1].__enter__()

    def leave(*_: object) -> None:
        open_labels.pop().__exit__(None, None, None)

    hooks = []
    for module in model.modules():
        if any(word in type(module).__name__.lower() for word in _ATTENTION):
            hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
