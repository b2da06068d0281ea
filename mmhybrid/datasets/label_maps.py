"""Label maps on disk, in LV-ViT's format.

There is one file for each image, ``<folder>/<class folder>/<image name up to its first dot>.pt``. It holds a float16
tensor (2, K, H, W) of a teacher's K largest logits at each of H x W positions over the whole image: the logits first,
their classes second. The published maps of NFNet-F6 have K = 5 and 18 x 18 positions.
"""

import io
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from mmhybrid.models.checkpoints import load_local
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import drop_link_outward, write_whole

MAX_CLASSES = 2048  # float16 cannot represent all larger integers


def label_map_path(folder: str | Path, image: str | Path) -> Path:
    """Return the path of an image's label map, which follows from the names of the image and of its folder."""
    image = Path(image)
    return Path(folder, image.parent.name, f'{image.name.split(".")[0]}.pt')


def top_classes(logits: Tensor, num_kept: int) -> Tensor:
    """Return label maps (..., 2, num_kept, H, W) for dense logits (..., classes, H, W).

    Raises:
        ValueError: If there are fewer classes than are kept, or more than the format can number.
    """
    num_classes = logits.shape[-3]
    if not num_kept <= num_classes <= MAX_CLASSES:
        raise bad_value('number of classes of the teacher', num_classes, f'from {num_kept} to {MAX_CLASSES}')
    values, classes = logits.topk(num_kept, dim=-3)
    return torch.stack((values.half(), classes.half()), dim=-4)


def write_label_map(path: Path, label_map: Tensor) -> None:
    """Write one label map (2, K, H, W). The file is written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(label_map.half().cpu().contiguous().clone(), content)
    drop_link_outward(path)
    write_whole(path, content.getvalue())


def read_label_map(path: Path) -> Tensor:
    """Read one label map (2, K, H, W).

    Raises:
        ValueError: If the file does not exist, or it holds something else.
    """
    try:
        label_map = load_local(str(path), 'cpu')
    except FileNotFoundError as error:
        raise bad_value('label map', str(path), 'an existing file; tools/make_label_maps.py makes them') from error
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise bad_value('label map', str(path), 'a file that torch.save has written') from error
    if not isinstance(label_map, Tensor) or label_map.ndim != 4 or len(label_map) != 2:
        raise bad_value('label map', str(path), 'a tensor (2, K, H, W) of logits and classes')
    if label_map.nbytes > path.stat().st_size:  # a view of few values, which a batch would expand
        raise bad_value('label map', str(path), 'a file with all values of its tensor')
    return label_map
