"""Images reach a network as its config says, and are shown as they reach it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from mmhybrid.apis import build_supernet, take_out, write_network
from mmhybrid.apis.configs import load_config
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.registry import MODELS
from mmhybrid.visualization.features import draw_features, feature_map
from mmhybrid.visualization.host import PADDING, PhotographReader, build_host, distinct_names, write_pictures
from mmhybrid.visualization.picture import Picture

ROOT = Path(__file__).parents[2]
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of the configs' pixels
RED, BLUE = (250, 10, 20), (0, 30, 240)


@pytest.fixture
def image(tmp_path):
    """Red on the left, blue on the right, twice as wide as high."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :100], pixels[:, 100:] = RED[::-1], BLUE[::-1]
    cv2.imwrite(str(tmp_path / 'image.png'), pixels)
    return str(tmp_path / 'image.png')


@pytest.mark.parametrize(
    ('name', 'size', 'shown'),
    [
        ('glnet_cls', (96, 192), (96, 192)),  # short side of 96
        pytest.param('autovit_det', (96, 160), (80, 160), marks=pytest.mark.dense),  # padded to a multiple of 32
        pytest.param('glit_seg', (64, 128), (64, 128), marks=pytest.mark.dense),
    ],
)
def test_pixels_are_the_inputs_before_they_are_normalised(name, size, shown, image):
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / f'{name}.py')
    model = build_host(cfg)
    assert not model.training
    (photograph,) = PhotographReader(cfg, model.data_preprocessor).read_all([image])
    assert photograph.name == 'image'
    assert photograph.inputs.shape == (1, 3, *size)
    assert photograph.pixels.shape == (*size, 3)
    np.testing.assert_array_equal(photograph.pixels[5, 5], RED)
    np.testing.assert_array_equal(photograph.pixels[5, shown[1] - 5], BLUE)
    inside = tuple(slice(side) for side in shown)
    assert (np.delete(photograph.pixels, np.s_[: shown[0]], axis=0) == PADDING).all()
    restored = photograph.inputs[0].permute(1, 2, 0) * torch.tensor(STD) + torch.tensor(MEAN)
    np.testing.assert_allclose(restored[inside], photograph.pixels[inside], atol=1e-3)
    with torch.inference_mode():
        assert model.backbone(photograph.inputs)


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Configs of networks taken out of a supernet for images smaller and larger than its pipeline's, by their sizes."""
    folder = tmp_path_factory.mktemp('exported')
    make_demo_data(folder / 'data', num_train=8, num_val=2, size=96, seed=0)
    (folder / 'search.py').write_text(f"""
_base_ = [{str(ROOT / 'configs/demo/autovit_search.py')!r}]
model = dict(architecture=dict(backbone=dict(space=dict(table=dict(resolutions=[64, 128])))))
search_cfg = dict(calibration=dict(num_images=2, dataset=dict(data_root={str(folder / 'data/imagenet')!r})))
""")
    cfg = load_config(str(folder / 'search.py'))
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor, '_scope_': 'mmpretrain'})
    torch.save({'state_dict': model.state_dict()}, folder / 'supernet.pth')
    model = build_supernet(cfg, str(folder / 'supernet.pth'))
    for size in (64, 128):
        arch = model.space.canonical({**model.space.smallest(), 'resolution': size})
        write_network(take_out(model, cfg, arch), cfg, folder, f'{size}', {})
    return {size: Config.fromfile(folder / f'{size}.py') for size in (64, 128)}


@pytest.mark.parametrize('size', [64, 128])
def test_a_searched_network_is_shown_what_it_sees(size, exported, image):
    cfg = exported[size]
    assert cfg.data_preprocessor.type == 'mmhybrid.ResizedInputs'
    model = build_host(cfg)
    (photograph,) = PhotographReader(cfg, model.data_preprocessor).read_all([image])
    assert photograph.inputs.shape == (1, 3, size, size)
    assert photograph.pixels.shape == (size, size, 3)
    np.testing.assert_array_equal(photograph.pixels[size // 2, 5], RED)
    np.testing.assert_array_equal(photograph.pixels[size // 2, size - 5], BLUE)
    restored = photograph.inputs[0].permute(1, 2, 0) * torch.tensor(STD) + torch.tensor(MEAN)
    np.testing.assert_allclose(restored, photograph.pixels, atol=0.51)  # rounded
    np.testing.assert_array_equal(feature_map(model.backbone, photograph.inputs).shape, (size // 32, size // 32))


def test_files_that_are_no_images(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'glnet_cls.py')
    reader = PhotographReader(cfg, torch.nn.Identity())
    for name, content in (('text.jpg', b'text'), ('empty.jpg', b'')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f'image .*{name} cannot be read'):
            reader.read(tmp_path / name, name)
    with pytest.raises(ValueError, match=r'image none\.jpg does not exist'):
        reader.read_all(['none.jpg'])
    with pytest.raises(ValueError, match='is not a file'):
        reader.read_all([str(tmp_path)])


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        ({}, 'has no test pipeline'),
        ({'test_dataloader': {'dataset': {'type': 'Some'}}}, 'has no test pipeline'),
        ({'test_dataloader': {'dataset': {'pipeline': [{'type': 'PackInputs'}]}}}, 'begins with PackInputs'),
    ],
)
def test_configs_without_a_pipeline_for_files(cfg, message):
    with pytest.raises(ValueError, match=message):
        PhotographReader(Config(cfg), torch.nn.Identity())


def test_the_pipeline_of_a_wrapped_data_set_is_found(image):
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'mmpretrain.PackInputs'}]
    inner = {'type': 'Some', 'pipeline': pipeline}
    wrapped = {'type': 'Repeat', 'dataset': {'type': 'Concat', 'datasets': [inner, inner]}}
    cfg = Config({'val_dataloader': {'dataset': wrapped}, 'default_scope': 'mmpretrain'})

    class Preprocessor(torch.nn.Module):
        def forward(self, data, training):
            return {'inputs': torch.stack(data['inputs']).float()}

    assert PhotographReader(cfg, Preprocessor()).read(image, 'a').inputs.shape == (1, 3, 100, 200)


def test_models_without_a_backbone():
    with pytest.raises(ValueError, match='has no model'):
        build_host(Config({}))
    with pytest.raises(ValueError, match=r'GLNet\) has no backbone'):
        build_host(Config({'model': {'type': 'mmhybrid.GLNet', 'arch': 'stl'}}))


def test_names_tell_files_apart():
    assert distinct_names(['a/x.jpg', 'b/y.png']) == ['x', 'y']
    assert distinct_names(['a/x.jpg', 'b/x.jpg']) == ['a-x', 'b-x']
    with pytest.raises(ValueError, match='two of the files are called a-x'):
        distinct_names(['a/x.jpg', 'b/y.jpg', 'a/x.png'])


def test_pictures_are_written_into_a_new_folder(tmp_path):
    pictures = {name: Picture(10, 20, [], name) for name in 'ab'}
    paths = write_pictures(tmp_path / 'new' / 'folder', pictures)
    assert [path.name for path in paths] == ['a.png', 'b.png']
    assert all(path.read_bytes() == pictures[path.stem].png_file() for path in paths)
    assert len(list((tmp_path / 'new' / 'folder').iterdir())) == 2


@pytest.mark.parametrize('channels', [1, 4, 12])
def test_images_of_any_channels_are_drawn(channels, tmp_path):
    """Grey where there is one, and the first three, as OpenCV orders them, where there are more."""
    bands = np.random.default_rng(0).integers(0, 256, (64, 64, channels), np.uint8)
    if channels == 12:
        np.save(tmp_path / 'image.npy', bands)
        path, load = tmp_path / 'image.npy', {'type': 'LoadBandImageFromFile'}
    else:
        path = tmp_path / 'image.png'
        cv2.imwrite(str(path), bands)
        load = {'type': 'LoadImageFromFile', 'color_type': 'grayscale' if channels == 1 else 'unchanged'}
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'glnet_cls.py')
    cfg.model.backbone.in_channels = channels
    cfg.model.data_preprocessor = {'mean': [128.0] * channels, 'std': [64.0] * channels, 'to_rgb': False}
    cfg.test_dataloader.dataset.pipeline = [load, {'type': 'PackInputs'}]
    model = build_host(cfg)
    (photograph,) = PhotographReader(cfg, model.data_preprocessor).read_all([str(path)])
    assert photograph.inputs.shape == (1, channels, 64, 64)
    np.testing.assert_array_equal(photograph.pixels, bands[..., [0, 0, 0] if channels == 1 else [2, 1, 0]])
    assert draw_features([photograph], [feature_map(model.backbone, photograph.inputs)], 'bands').png_file()


@TRANSFORMS.register_module(force=True)
class LoadBandImageFromFile:
    """An array of more bands than image files have."""

    def __call__(self, results):
        image = np.load(results['img_path'])
        return {**results, 'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]}
