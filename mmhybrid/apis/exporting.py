"""Export of a config's network with its weights and metadata."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.model import BaseModel

from mmhybrid.apis.calibration_images import calibration_images
from mmhybrid.apis.end_to_end import TRACED, export_end_to_end
from mmhybrid.apis.export import DTYPE_FORMATS, ENDINGS, Precision, check_dtype, export_model
from mmhybrid.apis.export_metadata import class_names, metadata_of, precision_told, shape_for, write_metadata
from mmhybrid.apis.preprocessing import Preprocessing
from mmhybrid.apis.weights import load_weights
from mmhybrid.latency.quantization import KEPT
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.build import build_model
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.models.deployed import switch_to_deploy
from mmhybrid.models.input_channels import input_channels


def export_config(
    cfg: Config,
    source: str,
    weights: str | None,
    out: str | Path,
    file_format: str,
    *,
    shape: Sequence[int] | None = None,
    is_other_allowed: bool = False,
    batch: int = 1,
    dynamic: str | None = None,
    is_folded: bool = True,
    is_end_to_end: bool = False,
    dtype: str = 'float32',
    num_calibration_images: int | None = None,
    kept: Sequence[str] = KEPT,
) -> str:
    """Export the network of a config, with metadata on the images that it takes and on its origin.

    Args:
        cfg: Config of the network.
        source: Path that ``cfg`` was read from, for the origin.
        weights: Checkpoint file; None for random weights.
        out: Path of the file, as for :func:`export_model`, like ``file_format`` and ``dynamic``.
        file_format: One of :data:`mmhybrid.apis.export.FORMATS`.
        shape: Height and width of the images; None for those of the config.
        is_other_allowed: Whether ``shape`` may differ from the network's own.
        batch: Batch size.
        dynamic: Axes that the file leaves open.
        is_folded: Whether the network is converted to its deployed form.
        is_end_to_end: Whether the file takes photographs and returns boxes or a segmentation.
        dtype: See :class:`mmhybrid.apis.export.Precision`.
        num_calibration_images: Number of calibration images for ``int8``, see :func:`calibration_images`.
        kept: Groups of nodes that ``int8`` keeps in float32, see :class:`mmhybrid.apis.export.Precision`.

    Returns:
        The resolution of the file's images, as text.

    Raises:
        ValueError: If the checkpoint does not fit the config, or as :func:`shape_for`, :func:`calibration_images`,
            :func:`export_model` and :func:`export_end_to_end`.
    """
    check_dtype(dtype, file_format)  # fails early, before images are loaded
    model = build_model(cfg)
    checkpoint = None
    if weights is not None:
        checkpoint = read_checkpoint(weights)
        load_weights(model, checkpoint, weights)
    if is_folded and any(isinstance(module, HybridBackbone) for module in model.modules()):
        switch_to_deploy(model)
    model.eval()
    names = class_names(cfg, checkpoint)
    if is_end_to_end:
        preprocessing = Preprocessing.of_config(cfg, shape, dynamic is not None)
        precision = _precision(dtype, cfg, model, num_calibration_images, preprocessing.canvas or TRACED, kept)
        export_end_to_end(model, preprocessing, out, precision)
        around = preprocessing.told()
    else:
        size = shape_for(cfg, checkpoint, shape, is_other_allowed)
        precision = _precision(dtype, cfg, model, num_calibration_images, size, kept)
        export_model(model, (batch, input_channels(model), *size), out, file_format, dynamic, precision)
        around = {'resolution': f'{size[0]} x {size[1]}'}
    facts = metadata_of(cfg, around['resolution'], source, weights, names) | around
    if file_format in DTYPE_FORMATS:
        facts |= precision_told(precision)
    write_metadata(out, file_format, facts)
    return facts['resolution']


def _precision(
    dtype: str, cfg: Config, model: BaseModel, num_images: int | None, shape: Sequence[int], kept: Sequence[str]
) -> Precision:
    images = calibration_images(cfg, model, num_images, shape) if dtype == 'int8' else None
    return Precision(dtype, images, tuple(kept))


def exported_file(config: str | Path, file_format: str) -> Path:
    """Return the path of the exported network beside a config."""
    return Path(config).with_suffix(ENDINGS.get(file_format, f'.{file_format}'))
