"""Label maps: their files, the transforms that move them with the images, and those that a teacher gives."""

import itertools
import random
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from mmhybrid.apis.configs import load_config
from mmhybrid.datasets.label_map_maker import dense_logits, make_label_maps
from mmhybrid.datasets.label_map_transforms import WHOLE_IMAGE
from mmhybrid.datasets.label_maps import label_map_path, read_label_map, top_classes, write_label_map
from mmhybrid.models.heads.token_targets import crop_targets, dense_maps
from mmhybrid.registry import MODELS, TRANSFORMS

SIZE = 16  # positions of the test's maps
PIXELS = 8  # of an image at each position


@pytest.fixture(autouse=True)
def _mmpretrain_scope():
    init_default_scope('mmpretrain')


def test_file_round_trip(tmp_path):
    label_map = top_classes(torch.randn(1000, 4, 6), 5)
    path = label_map_path(tmp_path, 'some/where/n01440764/n01440764_10026.JPEG')
    assert path == tmp_path / 'n01440764' / 'n01440764_10026.pt'
    write_label_map(path, label_map)
    assert torch.equal(read_label_map(path), label_map)
    assert label_map.shape == (2, 5, 4, 6)
    assert label_map.dtype == torch.half
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_kept_logits_are_the_largest():
    logits = torch.randn(2048, 3, 2)
    values, classes = top_classes(logits, 5)
    exact = torch.gather(logits, 0, classes.long())
    assert torch.equal(exact.half(), values)
    rest = logits.scatter(0, classes.long(), -torch.inf)
    assert (rest.amax(0) <= exact.amin(0)).all()


@pytest.mark.parametrize('num_classes', [4, 2049])
def test_numbers_of_classes_that_do_not_fit(num_classes):
    with pytest.raises(ValueError, match='from 5 to 2048'):
        top_classes(torch.zeros(num_classes, 1, 1), 5)


def test_wrong_files(tmp_path):
    with pytest.raises(ValueError, match='make_label_maps'):
        read_label_map(tmp_path / 'none.pt')
    torch.save(torch.zeros(3, 5, 2, 2), tmp_path / 'shape.pt')
    (tmp_path / 'text.pt').write_text('no tensor')
    for name in ('shape.pt', 'text.pt'):
        with pytest.raises(ValueError, match=name):
            read_label_map(tmp_path / name)


def scene(height=SIZE, width=SIZE):
    """An image whose blue is its row and whose green its column, and a map whose one class names the position."""
    rows, columns = np.mgrid[:height, :width]
    img = np.stack((rows, columns, np.zeros_like(rows)), -1).astype(np.float32)
    img = img.repeat(PIXELS, 0).repeat(PIXELS, 1)
    classes = torch.arange(height * width).reshape(1, height, width)
    label_map = torch.stack((torch.full_like(classes, 30), classes)).half()
    return {'img': img, 'label_map': label_map, 'label_map_box': WHOLE_IMAGE}


def positions(results, grid):
    """(row, column) at each of grid x grid cells of the image: from its pixels, and from its label map."""
    img = results['img']
    step = img.shape[0] // grid
    from_pixels = img.reshape(grid, step, grid, step, 3)[..., :2].mean((1, 3))
    maps = dense_maps(results['label_map'][None], SIZE * SIZE)
    # a class at a position has logit 30 there alone: the weights of RoIAlign are the logits over 30
    rows, columns = torch.arange(SIZE * SIZE) // SIZE, torch.arange(SIZE * SIZE) % SIZE
    values = torch.einsum('bkhw,kc->bchw', maps / 30, torch.stack((rows, columns), 1).float())
    logits = torch.cat((values, torch.zeros_like(values[:, :1])), 1)
    probabilities = crop_targets(logits / 8, torch.tensor([results['label_map_box']]), grid, grid)
    from_map = 8 * (probabilities[:, :2] / probabilities[:, 2:]).log()
    return from_pixels, from_map[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('flip_first', [True, False])
def test_map_follows_flip_and_crop(direction, flip_first):
    flip = {'type': 'mmhybrid.LabelMapFlip', 'prob': 1.0, 'direction': direction}
    crop = {'type': 'RandomResizedCrop', 'scale': 56, 'crop_ratio_range': (0.2, 0.8), 'interpolation': 'area'}
    pipeline = [flip, {'type': 'mmhybrid.LabelMapCrop', 'crop': crop}]
    np.random.seed(0)  # noqa: NPY002  OpenMMLab's transforms draw from it
    for _ in range(5):
        results = scene()
        for cfg in pipeline if flip_first else pipeline[::-1]:
            results = TRANSFORMS.build(cfg)(results)
        from_pixels, from_map = positions(results, 7)
        left, top, right, bottom = results['label_map_box']
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        # a crop snaps to pixels and its area is a little off; a wrong corner or direction is off by whole positions
        assert np.abs(from_pixels - from_map).max() < 0.6
        assert np.ptp(from_map[..., 0]) > 3


@pytest.mark.parametrize('kind', ['Rotate', 'Shear', 'Translate'])
@pytest.mark.parametrize('direction', ['horizontal', 'vertical'])
def test_map_follows_rand_augment(kind, direction):
    policy = {'type': kind, 'magnitude_range': (0, 20) if kind == 'Rotate' else (0, 0.3), 'prob': 1.0}
    if kind != 'Rotate':
        policy['direction'] = direction
    augment = {'type': 'RandAugment', 'policies': [policy], 'num_policies': 1, 'magnitude_level': 10}
    np.random.seed(0)  # noqa: NPY002
    moved = TRANSFORMS.build({'type': 'mmhybrid.LabelMapRandAugment', 'augment': augment})(scene())
    before, label_map = scene(), moved['label_map']
    assert not torch.equal(label_map, before['label_map'])
    classes, filled = label_map[1, 0].long(), label_map[0, 0] > 0
    from_map = torch.stack((classes // SIZE, classes % SIZE), -1).numpy()
    centre = PIXELS // 2
    from_pixels = moved['img'][centre::PIXELS, centre::PIXELS, :2]
    inside = filled.numpy().copy()
    inside[[0, -1]] = inside[:, [0, -1]] = False
    assert inside.mean() > 0.3
    # within a position, beside the border, where the filling of the image leaks in
    errors = np.abs(from_map - from_pixels)[inside].max(-1)
    assert np.mean(errors <= 1) > 0.9
    assert (label_map[0, 0][~filled] == 0).all()


def test_map_stays_where_colours_change():
    augment = {'type': 'RandAugment', 'policies': [{'type': 'Invert', 'prob': 1.0}], 'num_policies': 2}
    results = scene()
    results['img'] = results['img'].astype(np.uint8)
    augment['magnitude_level'] = 9
    moved = TRANSFORMS.build({'type': 'mmhybrid.LabelMapRandAugment', 'augment': augment})(results)
    assert torch.equal(moved['label_map'], scene()['label_map'])


def teacher(**kwargs):
    torch.manual_seed(0)
    cfg = {
        '_scope_': 'mmpretrain',
        'type': 'ImageClassifier',
        'backbone': {'type': 'mmhybrid.AutoViT', 'arch': 'xxs'},
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 20, 'in_channels': 480},
        'data_preprocessor': {'mean': [100.0, 110, 120], 'std': [50.0, 60, 70], 'to_rgb': True},
    }
    return MODELS.build({**cfg, **kwargs}).eval()


def test_dense_logits_by_hand_and_their_mean():
    model, images = teacher(), torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        logits = dense_logits(model, images)
        features = model.backbone(images)[-1]
        assert torch.allclose(logits.mean((2, 3)), model(images), atol=1e-4)
    by_hand = torch.einsum('bchw,kc->bkhw', features, model.head.fc.weight) + model.head.fc.bias[:, None, None]
    assert torch.allclose(logits, by_hand, atol=1e-4)


def test_backbone_without_a_map():
    vit = {'type': 'VisionTransformer', 'arch': 'deit-tiny', 'img_size': 32, 'patch_size': 16}
    head = {'type': 'VisionTransformerClsHead', 'num_classes': 20, 'in_channels': 192}
    with pytest.raises(ValueError, match='featmap'):
        dense_logits(teacher(backbone=vit, neck=None, head=head), torch.randn(1, 3, 32, 32))
    mapped = teacher(backbone={**vit, 'out_type': 'featmap'}, neck=None, head=head)
    assert dense_logits(mapped, torch.randn(1, 3, 32, 32)).shape == (1, 20, 2, 2)


def test_neck_that_joins_maps():
    cfg = {'type': 'HRNet', 'arch': 'w18'}
    neck = {'type': 'HRFuseScales', 'in_channels': (18, 36, 72, 144)}
    head = {'type': 'LinearClsHead', 'num_classes': 20, 'in_channels': 2048}
    with pytest.raises(ValueError, match=r"the teacher's neck and head: got .*, allowed: .* that take single pos"):
        dense_logits(teacher(backbone=cfg, neck=[neck], head=head), torch.randn(1, 3, 64, 64))


def test_maps_are_what_the_teacher_says_of_whole_images(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('a/x.png', 'b/y.png'):
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    model, out = teacher(), tmp_path / 'maps'
    written = list(make_label_maps(model, tmp_path / 'images', out, 64, batch_size=1))
    assert written == [out / 'a/x.pt', out / 'b/y.pt']
    pixels = cv2.imread(str(tmp_path / 'images/b/y.png'))[..., ::-1].astype(np.float32)
    normalised = (pixels - np.float32([100, 110, 120])) / np.float32([50, 60, 70])
    with torch.no_grad():
        logits = dense_logits(model, torch.from_numpy(normalised.transpose(2, 0, 1).copy())[None])
    assert torch.allclose(read_label_map(written[1])[0], top_classes(logits[0], 5)[0], rtol=1e-2, atol=1e-2)
    written[0].unlink()
    assert list(make_label_maps(model, tmp_path / 'images', out, 64)) == written[:1]


def test_images_that_share_a_name(tmp_path):
    folder = tmp_path / 'a'
    folder.mkdir()
    for name in ('x.1.png', 'x.2.png'):
        (folder / name).touch()
    with pytest.raises(ValueError, match='first dot'):
        list(make_label_maps(None, tmp_path, tmp_path / 'maps', 64))
    with pytest.raises(ValueError, match='with images'):
        list(make_label_maps(None, tmp_path / 'a', tmp_path / 'maps', 64))


def test_geometric_operations_draw_their_interpolation():
    """timm's RandAugment, where it is told none, draws one of two for each operation of each image."""
    augment = {'type': 'RandAugment', 'policies': [{'type': 'Rotate', 'magnitude_range': (0, 30), 'prob': 1.0}]}
    cfg = {'augment': {**augment, 'num_policies': 2, 'magnitude_level': 9}, 'interpolations': ('bilinear', 'bicubic')}
    transform = TRANSFORMS.build({'type': 'mmhybrid.LabelMapRandAugment', **cfg})
    (operation,) = transform.augment.transforms
    seen, plain = [], operation.transform
    operation.transform = lambda results: seen.append(operation.interpolation) or plain(results)
    random.seed(0)
    for _ in range(100):
        transform(scene())
    pairs = Counter(zip(seen[::2], seen[1::2], strict=True))
    assert set(pairs) == set(itertools.product(('bilinear', 'bicubic'), repeat=2))
    assert all(10 < count < 40 for count in pairs.values())


def test_the_recipe_draws_interpolations_as_timm_does():
    augmentation = pytest.importorskip('timm.data.auto_augment')
    cfg = load_config(str(Path(__file__).resolve().parents[2] / 'configs/glnet/glnet_4g_token-label_in1k.py'))
    (step,) = (step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'mmhybrid.LabelMapRandAugment')
    assert sorted(step.interpolations) == sorted(mode.name.lower() for mode in augmentation._RANDOM_INTERPOLATION)


def test_unknown_interpolation():
    augment = {'type': 'RandAugment', 'policies': 'timm_increasing', 'num_policies': 2, 'magnitude_level': 9}
    cfg = {'type': 'mmhybrid.LabelMapRandAugment', 'augment': augment, 'interpolations': ('cubic',)}
    with pytest.raises(ValueError, match=r"interpolations: got 'cubic', allowed: one of"):
        TRANSFORMS.build(cfg)
