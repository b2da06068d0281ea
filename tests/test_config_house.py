"""How configs stand on each other, and what they are called."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / 'configs').rglob('*.py'))
LEAVES = [path for path in CONFIGS if '_base_' not in path.parts]
MOST = 5
DISTILLED = [path for path in LEAVES if re.search('supernet_.*_(hard|soft)-', path.name)]
# {network}_{GPUs}xb{batch of one}_{data}, with what else is told of the network, the training and the data
CONVENTION = re.compile(r'[a-z0-9-]+(_[a-z0-9-]+)*_\d+xb\d+(-[a-z0-9-]+)?(_[a-z0-9-]+)+')


def bases(path: Path) -> list[Path]:
    """The configs of ours that a config inherits."""
    found = re.search(r"^_base_ = (\[.*?\]|'[^']*')", path.read_text(), re.S | re.M)
    names = re.findall(r"'([^']+)'", found[1]) if found else []
    return [(path.parent / name).resolve() for name in names if '::' not in name]


def depth(path: Path) -> int:
    """How many files the longest inheritance has, with its end."""
    return 1 + max((depth(base) for base in bases(path)), default=0)


def test_no_inheritance_is_over_five_deep() -> None:
    assert len(CONFIGS) > 200
    depths = {str(path.relative_to(ROOT)): depth(path) for path in CONFIGS}
    assert max(depths.values()) > 2
    assert not {path: files for path, files in depths.items() if files > MOST}


def test_no_base_stands_on_a_leaf() -> None:
    below = [path for path in CONFIGS if '_base_' in path.parts]
    assert below
    assert not [path for path in below for base in bases(path) if '_base_' not in base.parts]


def test_no_supernet_types_its_width() -> None:
    """The model takes it from the supernet, whatever the config of a network says that it inherits."""
    supernets = [path for path in CONFIGS if re.search('supernet|search', str(path.relative_to(ROOT)))]
    assert len(supernets) > 60
    assert not [path for path in supernets if re.search('in_channels=(?!None)', path.read_text())]


def test_every_supernet_is_wrapped_alike() -> None:
    wrapping = [path for path in CONFIGS if "type='mmhybrid.OneShot'" in path.read_text()]
    assert len(wrapping) >= 5  # of the families, of the demo data's classifiers and of a detector
    for path in wrapping:
        assert re.search(r'\n    architecture=\{\*\*_base_\.model, ', path.read_text()), path


@pytest.mark.parametrize('path', DISTILLED, ids=lambda path: path.stem)
def test_distillation_stands_once(path: Path) -> None:
    """The config names a teacher and a loss, as its own name does."""
    cfg = Config.fromfile(path)
    teacher, loss = (base.stem for base in bases(path)[1:])
    assert f'_{loss}-{teacher}_' in path.name
    assert cfg.model.distillation.kind == loss
    assert teacher in cfg.model.teacher.timm.replace('efficientnet', 'effnet').replace('_', '')
    assert not re.search('alpha|checkpoint', path.read_text())


def test_documented_configs_keep_their_names_and_others_have_openmmlabs() -> None:
    documents = [ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')]
    words = {word for path in documents for word in re.findall(r'[\w{},*/-]+\.py', path.read_text())}
    documented = {f'*/{name}' for word in words for name in expanded(word)}
    assert '*/configs/glnet/glnet_4g_in1k.py' in documented
    others = [path for path in LEAVES if not any(fnmatch(str(path), name) for name in documented)]
    assert not [path for path in others if not CONVENTION.fullmatch(path.stem)]


def expanded(name: str) -> list[str]:
    """A name of a document as names of files, as a shell expands braces."""
    found = re.search(r'\{([^{}]*)\}', name)
    if found is None:
        return [name]
    choices = found[1].split(',')
    return [whole for choice in choices for whole in expanded(name[: found.start()] + choice + name[found.end() :])]


@pytest.mark.parametrize(
    ('stem', 'is_named_so'),
    [
        ('glnet-4g_16xb128_in1k', True),
        ('mask-rcnn_glnet-4g_8xb2-amp-1x_coco', True),
        ('glnet_4g_in1k', False),
        ('glnet-4g_16xb128', False),
    ],
)
def test_the_convention(stem: str, is_named_so: bool) -> None:
    assert bool(CONVENTION.fullmatch(stem)) == is_named_so
