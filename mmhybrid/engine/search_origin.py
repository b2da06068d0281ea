"""The images that a search sees, and everything else besides the architectures that its scores depend on."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import nn
from torch.utils.data import Dataset

from mmhybrid.utils.checks import bad_value

# Arguments of a calibration that affect the statistics, besides the images.
CALIBRATION = ('num_images', 'batch_size', 'seed')
# Annotations of a sample that metrics compare predictions with.
TRUTH = ('gt_label', 'gt_score', 'instances', 'reduce_zero_label', 'label_map')


def origin_of(
    cfg: Config, model: nn.Module, dataset: Dataset, calibration_dataset: Dataset, calibration: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything besides the architecture that scores depend on, as JSON.

    A search continues only with an equal origin. Images count by size, annotations and name relative to their common
    folder, so that they may move together.

    Args:
        cfg: Config of the search. Its ``val_evaluator``, the pipelines of its data sets, and the preprocessor and
            ``test_cfg`` of its model count.
        model: The supernet with its weights.
        dataset: Data set on which candidates are evaluated.
        calibration_dataset: Data set of the batch-norm statistics.
        calibration: Arguments of the calibration.
    """
    judged, calibrated = cfg.val_dataloader.dataset, calibration['dataset']
    return {
        'weights': _digest(tensor.cpu().numpy() for tensor in model.state_dict().values()),
        'validation images': _identity(dataset),
        'calibration images': _identity(calibration_dataset),
        'calibration': {name: value for name, value in calibration.items() if name in CALIBRATION},
        'evaluator': _described(cfg.val_evaluator),
        'validation': _nested(judged, ('pipeline', 'test_mode')),
        'calibration data': _nested(calibrated, ('pipeline',)),
        'model': {
            'data_preprocessor': _described(cfg.get('data_preprocessor')),
            **_nested(cfg.model, ('data_preprocessor', 'test_cfg')),
        },
    }


def _identity(dataset: Any) -> str:
    """Return the number of images of a data set and a digest of their names, sizes and annotations in any order."""
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    folders = [str(Path(info['img_path']).resolve().parent) for info in samples if info.get('img_path') is not None]
    folder = os.path.commonpath(folders) if folders else ''
    rows = []
    for info in samples:
        [image] = _images_of(info)
        if info.get('img_path') is not None:
            image = f'{os.path.relpath(image, folder)} {os.path.getsize(image)}'
        truth = {name: _described(info[name]) for name in TRUTH if name in info}
        if info.get('seg_map_path') is not None:
            truth['seg_map'] = hashlib.sha256(Path(info['seg_map_path']).read_bytes()).hexdigest()
        rows.append(f'{image} {json.dumps(truth, sort_keys=True)}')
    return f'{len(samples)}, {_digest(sorted(rows))}'


def _nested(config: object, names: Sequence[str], path: str = '') -> dict[str, Any]:
    """Return all settings with these names, wherever they are in a config, by their dotted paths."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(config, Mapping):
        items = config.items()
    elif isinstance(config, list | tuple):
        items = enumerate(config)
    found: dict[str, Any] = {}
    for name, value in items:
        place = f'{path}.{name}' if path else str(name)
        found |= {place: _described(value)} if name in names else _nested(value, names, place)
    return found


def _described(value: Any) -> Any:
    """Return a part of a config or of an annotation as JSON that is the same in every process."""
    if isinstance(value, Mapping):
        return {str(name): _described(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _described(value.tolist())
    if value is None or isinstance(value, str | int | float | bool):
        return value
    named = value if hasattr(value, '__qualname__') else type(value)
    return f'{named.__module__}.{named.__qualname__}'


def check_disjoint(
    datasets: Mapping[str, Dataset], test_dataloader: Mapping[str, Any] | None, seeing: str = 'a search'
) -> None:
    """Raise ValueError if images of the test set are used in a search or to adapt a network in any other way.

    Args:
        datasets: Data sets that are used, by the name of their setting.
        test_dataloader: Test data loader of the config.
        seeing: What must not use the test images, for the message.

    Raises:
        ValueError: If images are in both; the message names the setting, the number of such images, and one of them.
    """
    if test_dataloader is None:
        return
    test = _images(DATASETS.build(dict(test_dataloader['dataset'])))
    for name, dataset in datasets.items():
        both = sorted(_images(dataset) & test)
        if both:
            raise ValueError(
                f'{name}: {len(both)} of its images are in the test set too, such as {both[0]}; '
                f'{seeing} must not see them: hold images out of the training set (tools/split_imagenet.py, '
                'split_coco.py or split_segmentation.py)'
            )


def _images(dataset: Any) -> set[str]:
    """Return identifiers of the images of a data set: their files, or digests of their pixels if they are in memory."""
    return {image for index in range(len(dataset)) for image in _images_of(dataset.get_data_info(index))}


def _images_of(info: Mapping[str, Any]) -> list[str]:
    if info.get('img_path') is not None:
        return [str(Path(info['img_path']).resolve())]
    if info.get('img') is not None:
        return [f'sha256 {hashlib.sha256(np.ascontiguousarray(info["img"]).tobytes()).hexdigest()}']
    raise bad_value('image', sorted(info), 'a sample with img_path or img, to tell it from those of the test set')


def _digest(parts: Iterable[Any]) -> str:
    """Return a digest of strings or arrays."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
