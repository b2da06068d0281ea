"""Metadata of an exported file: the images that the network takes, its classes, and its origin."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmhybrid.apis.export import WEIGHTS, Precision
from mmhybrid.latency.devices import versions_of
from mmhybrid.latency.quantization import METHOD
from mmhybrid.utils.checks import bad_value, check_int, check_list
from mmhybrid.utils.files import drop_link_outward, is_special, part_folder, write_json, write_whole
from mmhybrid.utils.openvino_core import openvino_core
from mmhybrid.utils.optional import require
from mmhybrid.version import __version__

# Transforms whose output has a fixed size, by the argument that gives the size.
SIZED = {
    'CenterCrop': 'crop_size',
    'EfficientNetCenterCrop': 'crop_size',
    'Pad': 'size',
    'Resize': 'scale',
    'ResizeEdge': None,
}
# Largest image side that a checkpoint may ask for, since attention takes memory with the fourth power of it.
LARGEST_SIDE = 1024


def own_shape(cfg: Config, checkpoint: Mapping[str, Any] | None = None) -> tuple[int, int] | None:
    """Return the height and width of the images that a network was made for, or None if nothing gives them.

    They come from the data preprocessor if it resizes images (a network that a search found at its own resolution),
    else from the checkpoint (as ``tools/export_subnet.py`` writes it), else from the output of the test pipeline.
    """
    shape = _meta(checkpoint).get('image_shape')
    preprocessor = preprocessor_of(cfg)
    if str(preprocessor.get('type')).endswith('ResizedInputs'):
        return int(preprocessor['size']), int(preprocessor['size'])
    if shape is not None:
        sides = check_list('checkpoint: image_shape', shape, 2)
        height, width = (check_int('checkpoint: image_shape', side, 1, LARGEST_SIDE) for side in sides)
        return height, width
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    for transform in reversed(dataset.get('pipeline') or ()):
        name = str(transform.get('type')).rpartition('.')[2]
        if name == 'Pad' and transform.get('size') is None:
            continue
        if name in SIZED:
            size = transform.get(SIZED[name] or '')
            if size is None or transform.get('keep_ratio'):
                return None
            # OpenMMLab's scales are (width, height)
            return (int(size),) * 2 if isinstance(size, int) else (int(size[-1]), int(size[0]))
    return None


def shape_for(
    cfg: Config, checkpoint: Mapping[str, Any] | None, given: Sequence[int] | None, is_other_allowed: bool
) -> tuple[int, int]:
    """Return the shape to export for.

    Args:
        cfg: Config of the network.
        checkpoint: Checkpoint of the network; None for random weights.
        given: Requested shape; None for the network's own.
        is_other_allowed: Whether the requested shape may differ from the network's own.

    Raises:
        ValueError: If no shape is requested and the network has none, or another one is requested and not allowed.
    """
    own = own_shape(cfg, checkpoint)
    if given is None:
        if own is None:
            raise ValueError('--shape: the config does not say the size of the images, give height and width')
        return own
    if own is not None and tuple(given) != own and not is_other_allowed:
        allowed = f'{own[0]} {own[1]}, for which the network was made; --other-shape exports it for another'
        raise bad_value('--shape', f'{given[0]} {given[1]}', allowed)
    return given[0], given[1]


def metadata_of(
    cfg: Config, resolution: str, config: str, checkpoint: str | None, classes: Sequence[str] | None
) -> dict[str, str]:
    """Return the metadata of a file by name, all as text, which ONNX and Core ML require.

    Args:
        cfg: Config of the network.
        resolution: Height and width of the images, as text.
        config: Path of the config, whose name is included.
        checkpoint: Path of the checkpoint; None for random weights.
        classes: Names of the classes, in the order of the outputs; None if they are not known.
    """
    preprocessor = preprocessor_of(cfg)
    preprocessor = preprocessor.get('preprocessor') or preprocessor  # the preprocessor within ResizedInputs
    is_rgb = any(preprocessor.get(name) for name in ('to_rgb', 'bgr_to_rgb'))
    facts = {
        'resolution': resolution,
        'mean': json.dumps(_numbers(preprocessor.get('mean', [0.0]))),
        'std': json.dumps(_numbers(preprocessor.get('std', [1.0]))),
        'channel_order': 'RGB' if is_rgb else 'BGR',
        'normalisation': '(pixels from 0 to 255 - mean) / std, by channel, before the network',
        'config': Path(config).name,
        'checkpoint': 'none, weights at random' if checkpoint is None else Path(checkpoint).name,
        'origin': f'mmhybrid {__version__}',
    }
    return facts if classes is None else {**facts, 'classes': json.dumps(list(classes))}


def precision_told(precision: Precision) -> dict[str, str]:
    """Return the metadata on a file's precision."""
    told = {'dtype': precision.dtype}
    if precision.images is not None:
        version = versions_of(['onnxruntime'])['onnxruntime']
        told['quantization'] = (
            f'layers with weights (int8, by channel; their inputs uint8) but {", ".join(precision.kept) or "none"}, '
            f'{METHOD} over {len(precision.images)} training images, by ONNX Runtime {version}; all else float32'
        )
    return told


def class_names(cfg: Config, checkpoint: Mapping[str, Any] | None) -> list[str] | None:
    """Return the names of the classes, or None if they are not known.

    They are those of the data that a checkpoint was trained on, or else those of the config's data.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    kind = DATASETS.get(str(dataset.get('type')))
    trained_on = _meta(checkpoint).get('dataset_meta') or {}
    if not isinstance(trained_on, Mapping) or not isinstance(trained_on.get('classes') or [], list | tuple):
        raise bad_value('checkpoint: dataset_meta', type(trained_on).__name__, 'a dict with a list of classes')
    places = (
        trained_on,
        dataset.get('metainfo'),
        {'classes': dataset.get('classes')} if isinstance(dataset.get('classes'), list | tuple) else None,
        getattr(kind, 'METAINFO', None),
    )
    found = next((place['classes'] for place in places if place and place.get('classes')), None)
    model = cfg.get('model') or {}
    heads = (model.get(name) for name in ('head', 'bbox_head', 'decode_head'))
    counts = [head['num_classes'] for head in heads if isinstance(head, Mapping) and 'num_classes' in head]
    if found is None or any(count != len(found) for count in counts):  # the head is for other classes
        return None
    return [str(name) for name in found]


def write_metadata(path: str | Path, file_format: str, metadata: Mapping[str, str]) -> None:
    """Add metadata to an exported file, which is written whole or not at all.

    The metadata of ExecuTorch's files goes into a ``.json`` of the same name. Formats of torch have no place for
    metadata, and a pipe can be written only once; neither is changed.
    """
    path = Path(path)
    if is_special(path):
        return
    if file_format == 'onnx':
        onnx = require('onnx', 'metadata of onnx')
        model = onnx.load(path)
        onnx.helper.set_model_props(model, dict(metadata))
        write_whole(path, model.SerializeToString())
    elif file_format == 'executorch':
        beside = path.with_suffix('.json')
        drop_link_outward(beside)
        write_json(beside, metadata)
    elif file_format == 'openvino':
        openvino = require('openvino', 'metadata of openvino')
        model = openvino_core('metadata of openvino').read_model(path)
        for name, value in metadata.items():
            model.set_rt_info(value, ['mmhybrid', name])
        with part_folder(path.resolve()) as folder:
            openvino.save_model(model, folder / path.name, compress_to_fp16=False)
            for ending in (WEIGHTS, path.suffix):
                os.replace((folder / path.name).with_suffix(ending), path.with_suffix(ending))
    elif file_format == 'coreml':
        tools = require('coremltools', 'metadata of coreml')
        package = tools.models.MLModel(str(path), skip_model_load=True)
        package.user_defined_metadata.update(metadata)
        with part_folder(path.resolve()) as folder:
            draft = folder / path.name
            package.save(str(draft))
            os.replace(path, folder / 'before')  # a folder cannot replace a folder that is not empty
            os.replace(draft, path)


def _meta(checkpoint: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the ``meta`` of a checkpoint; raise ValueError if it is not a dict."""
    meta = (checkpoint or {}).get('meta') or {}
    if not isinstance(meta, Mapping):
        raise bad_value('checkpoint: meta', type(meta).__name__, 'a dict')
    return meta


def preprocessor_of(cfg: Config) -> Mapping[str, Any]:
    """Return the config of the data preprocessor; empty if there is none."""
    return (cfg.get('model') or {}).get('data_preprocessor') or cfg.get('data_preprocessor') or {}


def _numbers(value: Any) -> list[float]:
    return [float(value)] if isinstance(value, int | float) else [float(number) for number in value]
