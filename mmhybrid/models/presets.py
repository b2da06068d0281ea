"""The presets as ImageNet classifiers, with the figures that their papers publish."""

from dataclasses import dataclass

from mmhybrid.models.classifier import Classifier
from mmhybrid.models.families import FAMILIES
from mmhybrid.registry import MODELS

NUM_CLASSES = 1000
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Preset:
    """A preset with the figures that its paper publishes.

    Args:
        family: Name of the backbone class.
        arch: Name of the preset.
        image_size: Side of the square input in pixels.
        params_m: Published number of parameters in millions, including the classifier.
        gmacs: Published number of multiply-accumulates in billions ("FLOPs" in the papers); None if none is published.
        top1: Published top-1 accuracy on ImageNet-1k in percent.
        mean: Mean of each channel, for pixels from 0 to 255.
        std: Standard deviation of each channel, for pixels from 0 to 255.
    """

    family: str
    arch: str
    image_size: int
    params_m: float
    gmacs: float | None
    top1: float
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @property
    def name(self) -> str:
        """Full name of the preset, such as ``glnet-4g``, which is unique among all families."""
        return FAMILIES[self.family].full_name(self.arch)


_LITE = {'mean': (127.0,) * 3, 'std': (128.0,) * 3}
PUBLISHED = (  # GLNet: tables 1, 3 and 6; GLiT: table 3; AutoViT: table 2 of the papers; EfficientNet-Lite: its release
    Preset('GLNet', 'stl', 224, 30.3, 4.4, 82.5),
    Preset('GLNet', 'stl-paramslot', 224, 30.5, 4.4, 82.1),
    Preset('GLNet', '4g', 224, 27, 4.5, 83.7),
    Preset('GLNet', '9g', 224, 61, 9.7, 84.5),
    Preset('GLNet', '16g', 224, 106, 16.7, 85.0),
    Preset('GLiT', 'tiny', 224, 7.2, 1.4, 76.3),
    Preset('GLiT', 'small', 224, 24.6, 4.4, 80.5),
    Preset('GLiT', 'base', 224, 96.1, 17.0, 82.3),
    Preset('AutoViT', 'xxs', 256, 1.8, 0.3, 71.3),
    Preset('AutoViT', 'xs', 256, 2.5, 0.8, 75.5),
    Preset('AutoViT', 's', 256, 6.3, 1.3, 79.2),
    Preset('EfficientNetLite', 'lite0', 224, 4.7, 0.407, 75.1, **_LITE),
    Preset('EfficientNetLite', 'lite1', 240, 5.4, 0.631, 76.7, **_LITE),
    Preset('EfficientNetLite', 'lite2', 260, 6.1, 0.899, 77.6, **_LITE),
    Preset('EfficientNetLite', 'lite3', 280, 8.2, 1.44, 79.8, **_LITE),
    Preset('EfficientNetLite', 'lite4', 300, 13.0, 2.64, 81.5, **_LITE),
)


def build_classifier(preset: Preset) -> Classifier:
    """Return the preset with a 1000-way classifier, with random weights, in eval mode."""
    backbone = MODELS.build({'type': f'mmhybrid.{preset.family}', 'arch': preset.arch}).eval()
    return Classifier(backbone, backbone.outputs(backbone.arch)[-1].width, NUM_CLASSES).eval()
