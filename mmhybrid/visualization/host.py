"""The model of a config, and images as the model sees them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmhybrid.models.build import build_model
from mmhybrid.models.resized_inputs import ResizedInputs, resized
from mmhybrid.utils.files import drop_link_outward, write_whole
from mmhybrid.utils.images import check_image
from mmhybrid.visualization.bitmap import Pixels
from mmhybrid.visualization.picture import Picture

PADDING = 128  # grey value of the pixels that the data preprocessor adds to an image


@dataclass(frozen=True)
class Photograph:
    """An image as the network sees it.

    Args:
        name: Name for people, and for the file of a picture of the image.
        pixels: (H, W, 3), red, green and blue from 0 to 255, before normalisation.
        inputs: All channels after normalisation, (1, C, H, W).
    """

    name: str
    pixels: Pixels
    inputs: Tensor


def distinct_names(paths: Sequence[str]) -> list[str]:
    """Return the names of files without suffixes, preceded by the names of their folders if two would be equal.

    Raises:
        ValueError: If two are equal even so.
    """
    for names in ([Path(path).stem for path in paths], ['-'.join(_last_two(path)) for path in paths]):
        if len(set(names)) == len(names):
            return names
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f'two of the files are called {twice}')


def _last_two(path: str) -> tuple[str, str]:
    return Path(path).resolve().parent.name, Path(path).stem


def build_host(cfg: Config) -> Any:
    """Build the classifier, detector or segmentor of a config in eval mode, with random weights.

    Raises:
        ValueError: If the config has no model, or the model has no backbone.
    """
    model = build_model(cfg)
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        raise ValueError(f'config {cfg.filename}: its model ({type(model).__name__}) has no backbone')
    model.eval()
    return model


class PhotographReader:
    """A reader that passes images through a config's test pipeline and its model's data preprocessor.

    Args:
        cfg: Config of a classifier, detector or segmentor.
        preprocessor: Data preprocessor of its model.

    Raises:
        ValueError: If the config has no test pipeline, or one that does not begin by loading a file.
    """

    def __init__(self, cfg: Config, preprocessor: nn.Module) -> None:
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        first, *others = _test_pipeline(cfg)
        if not re.fullmatch('Load.*Image.*File', first['type'].rpartition('.')[-1]):
            raise ValueError(
                f'config {cfg.filename}: its test pipeline begins with {first["type"]}, which loads no file'
            )
        self._load = Compose([first])
        # Annotations are not needed, and a file on the command line has none.
        self._prepare = Compose([step for step in others if not step['type'].rpartition('.')[-1].startswith('Load')])
        self._size: int | None = None
        self._preprocessor = preprocessor
        if isinstance(preprocessor, ResizedInputs):
            self._size, self._preprocessor = preprocessor.size, preprocessor.first

    def read_all(self, paths: Sequence[str]) -> list[Photograph]:
        """Read images and give them different names.

        Raises:
            ValueError: If a file does not exist, is not an image, or is named twice.
        """
        return [self.read(path, name) for path, name in zip(paths, distinct_names(paths), strict=True)]

    def read(self, path: str | Path, name: str) -> Photograph:
        """Read one image and call it ``name``.

        Raises:
            ValueError: If the file does not exist or is not an image.
        """
        check_image(path)
        try:
            loaded = self._load({'img_path': str(path)})
        except (AssertionError, cv2.error) as error:
            raise ValueError(f'image {path} cannot be read') from error
        packed = self._prepare(loaded)
        image = packed['inputs']
        with torch.inference_mode():
            inputs = self._preprocessor(pseudo_collate([packed]), False)['inputs']
            shown = torch.full((1, 3, *inputs.shape[-2:]), float(PADDING))
            shown[0, :, : image.shape[1], : image.shape[2]] = as_rgb(image)
            if self._size is not None:  # The padding is resized too, as the network sees it.
                inputs, shown = resized(inputs, self._size), resized(shown, self._size)
        pixels = shown[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
        return Photograph(name, pixels, inputs)


def as_rgb(image: Tensor) -> Tensor:
    """Return a loaded image (C, H, W) as (3, H, W), red, green and blue from 0 to 255.

    OpenCV loads blue, green and red, and then any further channels, for instance of sensors with many bands. One
    channel is taken for grey. Values of another type than bytes are stretched from their range to 0 to 255.
    """
    colours = image[:3].flip(0).float() if len(image) >= 3 else image[:1].expand(3, -1, -1).float()
    if image.dtype == torch.uint8:
        return colours
    low, high = colours.min(), colours.max()
    return (colours - low) / (high - low).clamp_min(1e-12) * 255


def _test_pipeline(cfg: Config) -> list[Mapping[str, Any]]:
    for name in ('test_dataloader', 'val_dataloader'):
        for dataset in _datasets((cfg.get(name) or {}).get('dataset')):
            if dataset.get('pipeline'):
                return list(dataset['pipeline'])
    raise ValueError(f'config {cfg.filename} has no test pipeline to load images with')


def _datasets(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a data set and those that it wraps, from the outermost to the innermost."""
    if isinstance(dataset, Mapping):
        yield dataset
        for inner in (dataset.get('dataset'), *(dataset.get('datasets') or ())):
            yield from _datasets(inner)


def write_pictures(folder: str | Path, pictures: Mapping[str, Picture]) -> list[Path]:
    """Write each picture to a PNG file of its name in a folder, and return the paths.

    The folder is created if it does not exist.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for name, picture in pictures.items():
        paths.append(Path(folder) / f'{name}.png')
        drop_link_outward(paths[-1])
        write_whole(paths[-1], picture.png_file())
    return paths
