"""Evaluation of exported files on a config's data with its metrics, as checkpoints are evaluated."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from mmhybrid.apis.export_metadata import class_names, metadata_of, own_shape
from mmhybrid.apis.preprocessing import Preprocessing
from mmhybrid.apis.runtimes import ExportedNetwork
from mmhybrid.utils.checks import bad_value, check_int, check_list
from mmhybrid.utils.errors import CannotGoOnError
from mmhybrid.utils.files import parse_json
from mmhybrid.utils.images import check_image

HEADS = ('head', 'bbox_head', 'decode_head')  # attributes of classifiers, detectors and segmentors
SAME = ('mean', 'std', 'channel_order')
MOST_VALUES = 2**30  # largest number of values in a batch (4 GiB); a file may declare any batch size


def check_fits(network: ExportedNetwork, cfg: Config) -> None:
    """Raise ValueError unless a file's metadata fit the network that ``cfg`` describes.

    Classes and preprocessing are compared and, for a file with a fixed size, also the size.
    """
    told, path = network.metadata, network.path
    if 'origin' not in told:
        raise ValueError(f'{path} does not say which images it takes; score a file that mmhybrid export wrote')
    ours = class_names(cfg, None)
    if ours is not None and 'classes' in told:
        theirs = check_list(f'{path}: classes', _value(network, 'classes'))
        if theirs != ours:
            counts = f'the file has {len(theirs)}, {_few(theirs)}, the config {len(ours)}, {_few(ours)}'
            raise ValueError(f'{path}: classes: {counts}')
    if network.is_end_to_end:
        canvas = _value(network, 'canvas')
        if canvas is not None:
            canvas = [check_int(f'{path}: canvas', side, 1) for side in check_list(f'{path}: canvas', canvas, 2)]
        expected = Preprocessing.of_config(cfg, canvas, canvas is None).told()
        compared: Sequence[str] = tuple(expected)
    else:
        size = own_shape(cfg)
        expected = metadata_of(cfg, '' if size is None else f'{size[0]} x {size[1]}', '', None, None)
        is_known = size is not None and None not in network.input_shape[2:]
        compared = (*SAME, 'resolution') if is_known else SAME
    for name in compared:
        if told.get(name) != expected[name]:
            raise ValueError(f'{path}: {name}: the file has {told.get(name)}, the config {expected[name]}')


def put_into(model: Any, network: ExportedNetwork) -> None:
    """Let a file replace the layers of a model; preprocessing and postprocessing remain, except for an end-to-end file.

    Args:
        model: A classifier, detector or segmentor, whose weights are not used.
        network: File that replaces its layers.
    """
    if network.is_end_to_end:

        def test_step(data: Any) -> list[Any]:
            with _at_work():
                return [_found(network, sample) for sample in data['data_samples']]

        model.__dict__['test_step'] = test_step
        return
    head = next(getattr(model, name) for name in HEADS if hasattr(model, name))
    is_detector = hasattr(model, 'bbox_head')

    def extract_feat(images: Tensor, **_options: object) -> list[Tensor]:
        with _at_work():
            return _run_batch(network, images)

    def forward(outputs: list[Tensor]) -> Any:
        if not is_detector:
            return outputs[0]
        half = len(outputs) // 2  # maps of scores come first, then maps of boxes
        return outputs[:half], outputs[half:]

    model.__dict__['extract_feat'], head.__dict__['forward'] = extract_feat, forward


@contextmanager
def _at_work() -> Iterator[None]:
    """Convert errors of a file into CannotGoOnError, which programs report even during an evaluation."""
    try:
        yield
    except ValueError as error:
        raise CannotGoOnError(str(error)) from error


def _run_batch(network: ExportedNetwork, images: Tensor) -> list[Tensor]:
    """Return the outputs of a file for (B, C, H, W), computed in batches of the file's size."""
    shape = network.input_shape
    if len(shape) != images.ndim:
        raise bad_value(f'{network.path}: sizes of its images', shape, 'batch, channels, height and width')
    for size, allowed in zip(images.shape[1:], shape[1:], strict=True):
        if allowed not in (None, size):
            sizes = ' x '.join(map(str, images.shape[2:]))
            allowed_sizes = f'{shape[2]} x {shape[3]}, for which the file was made'
            raise bad_value(f'{network.path}: an image of the data', sizes, allowed_sizes)
    batch = shape[0] or len(images)
    if batch * images[0].numel() > MOST_VALUES:
        raise bad_value(f'{network.path}: images at once', batch, f'at most {MOST_VALUES // images[0].numel()}')
    given, parts = images.cpu().numpy(), []
    for start in range(0, len(given), batch):
        part = given[start : start + batch]
        missing = [part[-1:]] * (batch - len(part))  # fills up the last batch
        found = network.run(np.concatenate([part, *missing]))
        for name, array in found.items():
            if not isinstance(array, np.ndarray) or array.shape[:1] != (batch,):
                raise bad_value(
                    f'{network.path}: {name}', getattr(array, 'shape', array), f'an array for {batch} images'
                )
        parts.append([torch.from_numpy(array[: len(part)]) for array in found.values()])
    return [torch.cat(arrays).to(images.device) for arrays in zip(*parts, strict=True)]


def _found(network: ExportedNetwork, sample: Any) -> Any:
    """Return a data sample with the results of an end-to-end file for its photograph."""
    path = sample.metainfo.get('img_path') or ''
    check_image(path)
    try:
        image = cv2.imread(str(path))
    except cv2.error:  # of more pixels than its limit
        image = None
    if image is None:
        raise bad_value('img_path of the data', path, 'a photograph that OpenCV reads, which the file takes whole')
    found = network.run(np.ascontiguousarray(image[..., ::-1]))
    names = ('segmentation',) if 'segmentation' in found else ('boxes', 'scores', 'labels')
    shapes = [getattr(found.get(name), 'shape', None) for name in names]
    count = len(found[names[-1]]) if shapes[-1] else 0
    if shapes != ([image.shape[:2]] if len(names) == 1 else [(count, 4), (count,), (count,)]):
        allowed = 'a class of each pixel, or boxes with their scores and labels'
        raise bad_value(f'{network.path}: outputs', {name: array.shape for name, array in found.items()}, allowed)
    tensors = {name: torch.from_numpy(found[name]) for name in names}
    if 'segmentation' in tensors:
        sample.pred_sem_seg = PixelData(data=tensors['segmentation'][None].long())
    else:
        boxes, scores, labels = (tensors[name] for name in ('boxes', 'scores', 'labels'))
        sample.pred_instances = InstanceData(bboxes=boxes, scores=scores, labels=labels)
    return sample


def _value(network: ExportedNetwork, name: str) -> Any:
    """Return a JSON value in a file's metadata; None if it does not exist."""
    try:
        return parse_json(network.metadata.get(name, 'null'))
    except ValueError as error:
        raise ValueError(f'{network.path}: {name}: not JSON ({error})') from error


def _few(names: Sequence[Any]) -> str:
    return f'{", ".join(map(str, names[:3]))}{", ..." if len(names) > 3 else ""}'
