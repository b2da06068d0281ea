"""The preprocessing of a photograph before the network, as a config describes it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmengine.config import Config

from mmhybrid.apis.export import STRIDE
from mmhybrid.apis.export_metadata import preprocessor_of
from mmhybrid.utils.checks import bad_value

PASSED_OVER = ('LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs', 'PackSegInputs', 'ResizeToMultiple')


@dataclass(frozen=True)
class Preprocessing:
    """The operations of a config's test pipeline and data preprocessor on a photograph.

    Args:
        canvas: Height and width of the network's images, into which photographs are fitted; None for images of their
            own size, padded with zeros to the next multiples of ``divisor``.
        divisor: See ``canvas``.
        scale: Size to which the image is resized: with ``keep_ratio`` the upper limits of its (longer, shorter) side,
            else its (height, width); None for no resizing.
        keep_ratio: See ``scale``.
        multiple: Number to whose multiples the sides are rounded up after that; 1 for no rounding.
        mean: Mean of each channel, in the network's channel order.
        std: Standard deviation of each channel, in the same order.
        is_rgb: Whether the network takes RGB rather than BGR.
        border: Padding value of each channel, in the same order, in pixel values from 0 to 255; None for zeros after
            the normalisation, which do not count as part of the image.
        border_value: Value with which the data preprocessor pads normalised images.
    """

    canvas: tuple[int, int] | None
    divisor: int
    scale: tuple[int, int] | None
    keep_ratio: bool
    multiple: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_rgb: bool
    border: tuple[float, ...] | None
    border_value: float

    @classmethod
    def of_config(cls, cfg: Config, shape: Sequence[int] | None, is_open: bool = False) -> 'Preprocessing':
        """Read the preprocessing from a config.

        Args:
            cfg: Config of a detector or segmentor.
            shape: Height and width of the canvas; None for one that all images fit into.
            is_open: Whether there is no canvas.

        Raises:
            ValueError: If a transform of the test pipeline is unknown, its images do not fit the canvas, or the size of
                the canvas is not given anywhere.
        """
        steps = _transforms(cfg)
        resize, pad = steps.get('Resize', {}), steps.get('Pad', {})
        keep_ratio, scale = bool(resize.get('keep_ratio')), resize.get('scale')
        if resize and scale is None:
            raise ValueError('test pipeline: Resize without a scale, which --end-to-end needs')
        if isinstance(scale, int):
            scale = (scale, scale)
        if scale is not None:
            scale = (max(scale), min(scale)) if keep_ratio else (int(scale[1]), int(scale[0]))
        multiple = int(steps.get('ResizeToMultiple', {}).get('size_divisor', 32 if 'ResizeToMultiple' in steps else 1))
        values = preprocessor_of(cfg)
        if str(values.get('type')).endswith('ResizedInputs'):
            raise bad_value('data_preprocessor', values['type'], 'one that resizes nothing, for --end-to-end')
        mean, std = (_three(values.get(name), default) for name, default in (('mean', 0.0), ('std', 1.0)))
        is_rgb = bool(values.get('bgr_to_rgb') or values.get('rgb_to_bgr'))
        border = None
        if pad:
            given = pad.get('pad_val', 0)
            border = _three(given.get('img', 0) if isinstance(given, Mapping) else given, 0.0)
            border = border[::-1] if is_rgb else border
        canvas = None if is_open else _canvas(shape, pad.get('size'), scale, keep_ratio, multiple)
        if canvas is None and pad:
            raise ValueError('--dynamic: the test pipeline pads images to one size (Pad), which the file has too')
        divisor = math.lcm(STRIDE, int(values.get('pad_size_divisor') or 1))
        border_value = float(values.get('pad_value', values.get('pad_val', 0)) or 0)
        return cls(canvas, divisor, scale, keep_ratio, multiple, mean, std, is_rgb, border, border_value)

    def told(self) -> dict[str, str]:
        """Return the metadata on the preprocessing."""
        facts = {name: json.dumps(value) for name, value in asdict(self).items()}
        size = 'open' if self.canvas is None else f'{self.canvas[0]} x {self.canvas[1]}'
        return {
            **facts,
            'input': 'image: (height, width, 3), uint8, RGB, of any size',
            'resolution': size,
            'normalisation': 'in the file',
        }


def _transforms(cfg: Config) -> dict[str, Mapping[str, Any]]:
    """Return the test pipeline's transforms by their names; raise ValueError for unsupported ones."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    found: dict[str, Mapping[str, Any]] = {}
    for transform in dataset.get('pipeline') or ():
        name = str(transform.get('type')).rpartition('.')[2]
        if name not in (*PASSED_OVER, 'Resize', 'Pad') or name in found:
            allowed = f'each of {", ".join((*PASSED_OVER, "Resize", "Pad"))} once, as parts of the file'
            raise bad_value('test pipeline', name, allowed)
        found[name] = transform
    return found


def _canvas(
    given: Sequence[int] | None,
    padded: Sequence[int] | None,
    scale: tuple[int, int] | None,
    keep_ratio: bool,
    multiple: int,
) -> tuple[int, int]:
    """Return the size of a file's images: the requested one, the one of ``Pad``, or one that fits all images."""
    if given is None and padded is not None:
        given = padded[::-1]  # MMCV's sizes are (width, height)
    if given is None and scale is not None:
        given = [-(-side // STRIDE) * STRIDE for side in ((scale[0], scale[0]) if keep_ratio else scale)]
    if given is None:
        raise ValueError('--shape: the config does not say the size of the images, give height and width')
    height, width = int(given[0]), int(given[1])
    text = f'{height} {width}'
    if padded is not None and (height, width) != tuple(padded[::-1]):
        raise bad_value('--shape', text, f'{padded[1]} {padded[0]}, to which the test pipeline pads')
    if height % multiple or width % multiple:
        raise bad_value('--shape', text, f'multiples of {multiple}, as ResizeToMultiple leaves them')
    if scale is not None and not keep_ratio and (height < scale[0] or width < scale[1]):
        raise bad_value('--shape', text, f'at least {scale[0]} {scale[1]}, what Resize leaves')
    return height, width


def _three(value: Any, default: float) -> tuple[float, ...]:
    """Return a number for each channel."""
    if value is None:
        value = default
    values = [value] if isinstance(value, int | float) else list(value)
    return tuple(float(number) for number in (values * 3 if len(values) == 1 else values))
