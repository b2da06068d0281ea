"""``mmhybrid COMMAND``: all tools, in any folder, on configs by their names."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fresh_python import run_python
from mmengine.config import Config
from mmengine.hub import get_config

from mmhybrid.__main__ import COMMANDS, main, summaries
from mmhybrid.apis.configs import load_config

ROOT = Path(__file__).resolve().parents[1]
NAME = 'mmhybrid::glnet/retinanet_glnet_4g_1x_coco.py'
# As torch does at the end of its import where mmhybrid is installed; a host's tool reads its config like this.
READ = """
import sys
if sys.argv[1] == 'before':
    import mmengine.config
import mmhybrid_autoload
mmhybrid_autoload.find_operators()
assert 'mmhybrid' not in sys.modules
from mmengine.config import Config
cfg = Config.fromfile('config.py')
assert 'mmhybrid' in sys.modules  # by its custom_imports
print(cfg.default_scope, cfg.model.backbone.type, cfg.model.backbone.drop_path_rate, cfg.train_cfg.get('_scope_'))
"""

IMPORT_ALL = """
import json, os, runpy, sys, tempfile
from importlib import import_module
root, home, tempfile.tempdir = sys.argv[1:]
os.environ.update(HOME=home, TMPDIR=tempfile.tempdir)
for name in ('TORCHINDUCTOR_CACHE_DIR', 'XDG_CACHE_HOME'):
    os.environ.pop(name, None)
from mmhybrid.__main__ import COMMANDS
commands = {}
for module in COMMANDS.values():
    command = import_module(f'mmhybrid.commands.{module}')
    main = runpy.run_path(f'{root}/tools/{module}.py')['main']
    commands[module] = (main is command.main, command.__doc__.splitlines()[0])
from torch._inductor import codecache
folders = [os.environ['TORCHINDUCTOR_CACHE_DIR'], codecache.cache_dir()]
folders += [codecache.default_cache_dir()] if hasattr(codecache, 'default_cache_dir') else []
print(json.dumps({
    'commands': commands, 'folders': folders, 'headers': getattr(codecache, '_HEADER_DIR', folders[0])
}))
"""


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command as a user of a clone runs it, who has installed nothing."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        [sys.executable, '-W', 'ignore', *map(str, arguments)], cwd=folder, env=env, capture_output=True, text=True
    )


@pytest.fixture(scope='module')
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process says that has imported all commands; ``home`` and ``temporary`` are its folders."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ('home', 'temporary')}
    done = run_python(IMPORT_ALL, ROOT, *folders.values(), imported='torch mmengine')
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), **folders}


def test_a_tool_is_the_command_of_its_name(imported: dict[str, Any]) -> None:
    assert {path.stem for path in (ROOT / 'tools').glob('*.py')} == set(COMMANDS.values()) == set(imported['commands'])
    for is_the_command, first_line in imported['commands'].values():
        assert is_the_command
        assert first_line in summaries()


def test_commands_keep_compiled_code_in_a_folder_of_the_users_own(imported: dict[str, Any]) -> None:
    """Parts of torch that some of them import choose the folder then, and others leave it out of account."""
    own = imported['home'] / '.cache/mmhybrid/torchinductor'
    assert set(imported['folders']) == {str(own)}
    assert Path(imported['headers']).is_relative_to(own)
    assert list(imported['temporary'].iterdir()) == []


@pytest.mark.parametrize(
    ('arguments', 'code', 'told'),
    [
        (['--help'], 0, 'export-subnet       Export a searched network'),
        (['report', '--help'], 0, 'usage: mmhybrid report'),
        (['--version'], 0, 'mmhybrid 0.'),
        ([], 2, 'COMMAND'),
        (['trian'], 2, "invalid choice: 'trian'"),
        (['train'], 2, 'mmhybrid train: error: the following arguments are required: config'),
        (['demo', '--epochs', '1'], 2, '--epochs: got 1, allowed: an integer of at least 2'),
        (['train', 'mmhybrid::glnet/none.py'], 2, 'config mmhybrid::glnet/none.py cannot be found'),
        (['train', 'mmnone::glnet/none.py'], 2, 'does not support to load mmnone'),
        (['train', 'mmhybrid::none.py'], 2, 'config mmhybrid::none.py cannot be found'),
    ],
)
def test_command_lines(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'argv', ['mmhybrid'])
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    captured = capsys.readouterr()
    assert told in ' '.join((captured.out if code == 0 else captured.err).split(' '))


def test_configs_have_names_on_the_command_line_and_in_the_hub() -> None:
    direct = Config.fromfile(ROOT / 'configs/glnet/retinanet_glnet_4g_1x_coco.py').to_dict()
    named = load_config(NAME)
    assert named.work_dir == 'work_dirs/retinanet_glnet_4g_1x_coco'
    assert {key: value for key, value in named.to_dict().items() if key in direct} == direct
    assert get_config(NAME).to_dict() == direct
    demo = 'demo/autovit_search.py'  # which no metafile lists
    assert get_config(f'mmhybrid::{demo}').to_dict() == Config.fromfile(ROOT / 'configs' / demo).to_dict()


@pytest.mark.parametrize('path', ['../../setup.py', 'demo/../../setup.py', '{folder}/c.py'])
def test_names_stay_below_the_configs(path: str, tmp_path: Path) -> None:
    (tmp_path / 'c.py').write_text('a = 1')
    with pytest.raises(ValueError, match='no path below the configs of mmhybrid'):
        load_config('mmhybrid::' + path.format(folder=tmp_path))


def test_a_base_by_name_is_the_base_by_path(tmp_path: Path) -> None:
    """Above all without MMEngine's scopes: what our configs build is the host's."""
    for name in ('glnet/glnet_4g_in1k.py', 'glnet/upernet_glnet_4g_160k_ade20k.py', 'demo/autovit_search.py'):
        (tmp_path / 'config.py').write_text(f"_base_ = 'mmhybrid::{name}'\n")
        assert Config.fromfile(tmp_path / 'config.py').to_dict() == Config.fromfile(ROOT / 'configs' / name).to_dict()


@pytest.mark.parametrize('order', ['before', 'behind'])
def test_a_base_by_name_is_found_by_programs_that_do_not_import_mmhybrid(order: str, tmp_path: Path) -> None:
    """Whether MMEngine's configs are imported before torch, or behind it."""
    (tmp_path / 'config.py').write_text(f"_base_ = '{NAME}'\nmodel = dict(backbone=dict(drop_path_rate=0.5))\n")
    done = run('-c', READ, order, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-4:] == ['mmdet', 'mmhybrid.GLNet', '0.5', 'None']


def test_a_clone_works_without_installation(tmp_path: Path) -> None:
    done = run('-m', 'mmhybrid', 'get-complexity', 'mmhybrid::glit/glit_tiny_in1k.py', folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '7,264,456' in done.stdout
    assert not list(tmp_path.iterdir())
    code = "import mmhybrid, mmpretrain; print('glnet-4g_in1k' in mmpretrain.list_models('glnet'))"
    assert run_python(code).stdout.split()[-1:] == ['True']


PICTURES = 'import sys; from importlib import import_module; import_module(sys.argv[1])\n'
PICTURES += 'import matplotlib; print(matplotlib.rcParams["figure.dpi"])'


def test_commands_read_no_settings_of_pictures_in_the_current_folder(tmp_path: Path) -> None:
    """Before Matplotlib 3.10.9 they are evaluated, and a folder of results may come from others."""
    (tmp_path / 'matplotlibrc').write_text('figure.dpi: 7')
    (tmp_path / 'own').write_text('figure.dpi: 11')

    def dpi(module: str, **variables: str) -> str:
        done = run_python(PICTURES, module, imported='torch mmengine', cwd=tmp_path, **variables)
        return done.stdout.split('\n')[-2]

    assert dpi('mmhybrid') == '7.0'  # or the next could not fail
    assert dpi('mmhybrid.commands') == '100.0'
    assert dpi('mmhybrid.commands', MATPLOTLIBRC=str(tmp_path / 'own')) == '11.0'
