"""What exported files say of their network, and for which images they are made."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.export import export_model
from mmhybrid.apis.export_metadata import class_names, metadata_of, own_shape, shape_for, write_metadata
from mmhybrid.torch_api import EXPORTING

ROOT = Path(__file__).parents[2]
FACTS = {'resolution': '32 x 48', 'classes': json.dumps(['cat', 'dog'])}
RESIZED = """
_base_ = [{base!r}]
model = dict(data_preprocessor=dict(type='mmhybrid.ResizedInputs', size={size}, preprocessor=dict(
    type='ClsDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)))
"""


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('autovit/autovit_xxs_in1k.py', (256, 256)),
        ('glnet/glnet_4g_in1k.py', (224, 224)),
        ('glit/glit_tiny_in1k.py', (224, 224)),
        ('autovit/autovit_xxs_imagenette.py', (160, 160)),
        ('efficientnet-lite/efficientnet-lite2_in1k.py', (260, 260)),
        ('efficientnet-lite/efficientnet-lite0_imagenette.py', (224, 224)),
        ('demo/glnet_cls.py', None),
        ('autovit/retinanet_autovit_s_1x_coco.py', None),
        ('glnet/upernet_glnet_4g_160k_ade20k.py', None),
        ('glnet/supernet_rtmdet_glnet_small_own.py', (160, 160)),
    ],
)
def test_configs_say_the_size_of_their_images(path: str, expected: tuple[int, int] | None) -> None:
    assert own_shape(load_config(str(ROOT / 'configs' / path))) == expected


def test_a_width_comes_first_in_a_scale() -> None:
    pipeline = [{'type': 'Resize', 'scale': (48, 32)}, {'type': 'PackInputs'}]
    assert own_shape(Config({'test_dataloader': {'dataset': {'pipeline': pipeline}}})) == (32, 48)


@pytest.mark.parametrize(('padding', 'expected'), [({'size': (96, 64)}, (64, 96)), ({'size_divisor': 32}, (32, 48))])
def test_images_that_are_padded_have_the_size_of_the_canvas(
    padding: dict[str, object], expected: tuple[int, int]
) -> None:
    pipeline = [{'type': 'Resize', 'scale': (48, 32)}, {'type': 'mmdet.Pad', **padding}, {'type': 'PackDetInputs'}]
    assert own_shape(Config({'test_dataloader': {'dataset': {'pipeline': pipeline}}})) == expected


def test_the_weights_of_a_searched_network_say_it() -> None:
    weights = {'meta': {'image_shape': [80, 96]}}
    assert own_shape(Config({}), weights) == (80, 96)
    with pytest.raises(ValueError, match='image_shape'):
        own_shape(Config({}), {'meta': {'image_shape': [80]}})
    size = {'data_preprocessor': {'type': 'mmhybrid.ResizedInputs', 'size': 64, 'preprocessor': {}}}
    assert own_shape(Config(size), weights) == (64, 64)


def test_classes_of_the_data() -> None:
    """ImageNet knows its own; what a checkpoint says goes first."""
    cfg = Config({'test_dataloader': {'dataset': {'type': 'mmpretrain.ImageNet'}}})
    found = class_names(cfg, None)
    assert found is not None
    assert len(found) == 1000
    assert class_names(cfg, {'meta': {'dataset_meta': {'classes': ['x']}}}) == ['x']
    recipe = load_config(str(ROOT / 'configs/glnet/glnet_4g_in1k.py'))
    assert class_names(recipe, None) == found
    recipe.model.head.num_classes = 10
    assert class_names(recipe, None) is None  # those of the recipe's data are not the ten


def metadata_of_checkpoint(checkpoint: dict[str, object]) -> tuple[object, object]:
    return own_shape(Config({}), checkpoint), class_names(Config({}), checkpoint)


@pytest.mark.parametrize(
    ('meta', 'message'),
    [
        ([1], r"checkpoint: meta: got 'list'"),
        ('words', r"checkpoint: meta: got 'str'"),
        ({'image_shape': [10**9, 10**9]}, r'checkpoint: image_shape: got 1000000000, allowed: an int from 1 to 1024'),
        ({'image_shape': '12'}, r"checkpoint: image_shape: got '12'"),
        ({'dataset_meta': [1]}, r"checkpoint: dataset_meta: got 'list'"),
        ({'dataset_meta': 'words'}, r"checkpoint: dataset_meta: got 'str'"),
        ({'dataset_meta': {'classes': 5}}, r'checkpoint: dataset_meta: .* a dict with a list of classes'),
        ({'dataset_meta': {'classes': 'words'}}, r'checkpoint: dataset_meta: .* a dict with a list of classes'),
    ],
)
def test_what_a_checkpoint_says_is_checked(meta: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metadata_of_checkpoint({'meta': meta})


def test_images_beyond_memory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'input_shape: got .*, allowed: at most \d+ pixels'):
        export_model(torch.nn.Identity(), (1, 3, 10**9, 10**9), tmp_path / 'a.pt', 'torchscript')


def test_another_shape_takes_a_flag() -> None:
    cfg = Config({'data_preprocessor': {'type': 'mmhybrid.ResizedInputs', 'size': 192, 'preprocessor': {}}})
    assert shape_for(cfg, None, None, False) == shape_for(cfg, None, [192, 192], False) == (192, 192)
    assert shape_for(cfg, None, [256, 256], True) == (256, 256)
    with pytest.raises(ValueError, match=r'--shape: got .*256 256.*192 192.*--other-shape'):
        shape_for(cfg, None, [256, 256], False)
    with pytest.raises(ValueError, match='--shape: the config does not say'):
        shape_for(Config({}), None, None, False)
    assert shape_for(Config({}), None, [64, 96], False) == (64, 96)


def test_facts_of_a_config(tmp_path: Path) -> None:
    path = tmp_path / 'best.py'
    path.write_text(RESIZED.format(base=str(ROOT / 'configs/demo/glnet_cls.py'), size=64))
    classes = class_names(Config({}), {'meta': {'dataset_meta': {'classes': ('a', 'b')}}})
    found = metadata_of(load_config(str(path)), '64 x 64', str(path), 'work/best.pth', classes)
    assert found['resolution'] == '64 x 64'
    assert json.loads(found['mean']) == [1, 2, 3]
    assert json.loads(found['std']) == [4, 5, 6]
    assert found['channel_order'] == 'RGB'
    assert (found['config'], found['checkpoint']) == ('best.py', 'best.pth')
    assert json.loads(found['classes']) == ['a', 'b']
    assert 'classes' not in metadata_of(load_config(str(path)), '64 x 64', str(path), None, class_names(Config({}), {}))


@pytest.mark.torch_since(*EXPORTING)
def test_onnx_files_carry_it_and_run(tmp_path: Path) -> None:
    onnx, runtime = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    path, layer, images = tmp_path / 'a.onnx', torch.nn.Conv2d(3, 2, 3), torch.rand(1, 3, 32, 48)
    export_model(layer, images.shape, path, 'onnx')
    write_metadata(path, 'onnx', FACTS)
    assert {item.key: item.value for item in onnx.load(path).metadata_props}.items() >= FACTS.items()
    session = runtime.InferenceSession(str(path))
    assert session.get_modelmeta().custom_metadata_map.items() >= FACTS.items()
    [found] = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), layer(images).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.torch_since(*EXPORTING)
def test_core_ml_packages_carry_it(tmp_path: Path) -> None:
    tools = pytest.importorskip('coremltools')
    path = tmp_path / 'a.mlpackage'
    export_model(torch.nn.Conv2d(3, 2, 3), (1, 3, 32, 48), path, 'coreml')
    write_metadata(path, 'coreml', FACTS)
    read = tools.models.MLModel(str(path), skip_model_load=True)
    assert dict(read.user_defined_metadata).items() >= FACTS.items()
    assert [file.name for file in tmp_path.iterdir()] == ['a.mlpackage']


@pytest.mark.torch_since(*EXPORTING)
def test_the_tool_exports_for_the_images_of_the_config(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = tmp_path / 'best.py', tmp_path / 'best.pt2'
    path.write_text(RESIZED.format(base=str(ROOT / 'configs/demo/autovit_cls.py'), size=64))
    main = runpy.run_path(str(ROOT / 'tools/export.py'))['main']
    main([str(path), '--out', str(out), '--format', 'exported'])
    assert '64 x 64' in capsys.readouterr().out
    assert torch.export.load(out).module()(torch.rand(1, 3, 64, 64)).shape[0] == 1
    with pytest.raises(SystemExit):
        main([str(path), '--out', str(out), '--format', 'exported', '--shape', '96', '96'])
    assert '--other-shape' in capsys.readouterr().err
