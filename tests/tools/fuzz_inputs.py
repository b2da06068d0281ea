"""Wrong inputs, generated from the tools' own arguments and from configs, checkpoints and arch files."""

import copy
import json
import random
import runpy
from argparse import Action, ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from retraining_demo import ROOT, make_finished_search
from search_demo import save_weights

from mmhybrid.apis.configs import load_config
from mmhybrid.models.checkpoints import load_local

WRONG_VALUES: tuple[Any, ...] = (
    None,
    'x',
    '',
    -1,
    0,
    1.5,
    float('nan'),
    True,
    [],
    {},
    [None],
    ['x'],
    {'type': 'Nothing'},
    [[]],
)
WRONG_NUMBERS = ('0', '-1', 'x', '1.5', '')
# Arguments that are left as they are: a process started as part of others waits for them.
LEFT = {'help', 'local_rank', 'launcher'}
CLASSIFIER = """
_base_ = [{base!r}]
loader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(data_root={root!r}))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
train_cfg = dict(max_epochs=1, val_interval=1)
"""


class Place:
    """A folder with what correct commands need, and wrong files of all kinds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.search, _, self.supernet, _, self.work = make_finished_search(folder)
        root = str(folder / 'data/imagenet')
        self.classifier = str(folder / 'classifier.py')
        base = str(ROOT / 'configs/demo/glnet_cls.py')
        Path(self.classifier).write_text(CLASSIFIER.format(base=base, root=root))
        self.weights = str(folder / 'classifier.pth')
        save_weights(self.classifier, Path(self.weights))
        self.image = str(next(Path(root).rglob('*.jpg'), None) or next(Path(root).rglob('*.png')))
        arch = {'space': {'type': 'GLiTSpace'}, 'arch': {}, 'metrics': {}}
        self.arch = str(folder / 'best_arch.json')
        self.tool('search_report', self.work, '--best')
        found = Path(self.work, 'best_arch.json')
        Path(self.arch).write_text(found.read_text() if found.exists() else json.dumps(arch))
        self.wrong_paths = list(self._wrong_paths())
        self.wrong_checkpoints = list(self._wrong_checkpoints())
        self.commands = self._commands()

    def tool(self, name: str, *arguments: str) -> None:
        """Run a tool in this process."""
        with patch('sys.argv', [name, *arguments]):
            runpy.run_path(str(ROOT / f'tools/{name}.py'))['main']()

    def _commands(self) -> dict[str, list[str]]:
        """A correct command line of each tool."""
        out = str(self.folder / 'out')
        retraining = [self.search, '--checkpoint', self.supernet, '--work-dir', self.work, '--out-dir', out]
        return {
            'audit_ranking': [*retraining, '--count', '2', '--top', '1', '--epochs', '1'],
            'convert_checkpoint': [self.weights, f'{out}.pth', '--arch', '4g'],
            'export': [self.classifier, '--out', f'{out}.pt', '--format', 'torchscript', '--checkpoint', self.weights],
            'export_subnet': [self.search, '--checkpoint', self.supernet, '--arch', self.arch, '--out-dir', out],
            'get_complexity': [self.classifier, '--shape', '64', '64'],
            'keep_teacher': [self.classifier],
            'latency_report': [f'{out}.json'],
            'make_demo_data': [f'{out}-data', '--num-train', '8', '--num-val', '2', '--size', '64'],
            'make_label_maps': [self.classifier, self.weights, str(self.folder / 'data/imagenet/val'), f'{out}-maps'],
            'measure': [self.classifier, '--shape', '64', '64', '--threads', '1', '--repeats', '2'],
            'plain_weights': [self.weights, f'{out}.pth'],
            'plot_arch': [self.arch, '--out', f'{out}.svg'],
            'plot_curves': [self.work, '--out', f'{out}.png'],
            'profile_latency': [self.search, '--out', f'{out}.json', '--networks', '1', '--repeats', '1'],
            'retrain_topk': [*retraining, '--count', '1'],
            'run_onnx': [f'{out}.onnx', self.image, '--out', f'{out}.png'],
            'search': [self.search, '--checkpoint', self.supernet, '--work-dir', f'{out}-search'],
            'search_report': [self.work],
            'split_coco': [str(self.folder / 'data/coco/annotations/instances_train2017.json'), f'{out}-split'],
            'split_segmentation': [
                str(self.folder / 'data/ade/images/training'),
                str(self.folder / 'data/ade/annotations/training'),
                f'{out}-split',
            ],
            'split_imagenet': [str(self.folder / 'data/imagenet/train'), f'{out}-split', '--num-held-out', '2'],
            'test': [self.classifier, self.weights, '--work-dir', f'{out}-test'],
            'train': [self.classifier, '--work-dir', f'{out}-train'],
            'visualize_features': [self.classifier, self.weights, self.image, '--out', out],
            'visualize_slots': [self.classifier, self.weights, self.image, '--out', out],
        }

    def _wrong_paths(self) -> Iterator[str]:
        folder = self.folder / 'wrong'
        folder.mkdir()
        contents = {
            'empty.json': b'',
            'deep.json': b'[' * 100_000,
            'deep_object.json': b'{"arch":' * 5000 + b'1' + b'}' * 5000,
            'list.json': b'[1, 2]',
            'cut.json': Path(self.arch).read_bytes()[:40],
            'noise.pth': bytes(range(256)) * 8,
            'cut.pth': Path(self.weights).read_bytes()[:5000],
            'latin.py': b'model = "\xff"',
            'number.py': b'model = 5',
            'picture.png': b'\x89PNG\r\n\x1a\n',
        }
        for name, content in contents.items():
            (folder / name).write_bytes(content)
            yield str(folder / name)
        (folder / 'folder').mkdir()
        yield from (str(folder / 'folder'), str(folder / 'none/none'), str(folder / 'empty.json/inside'), '')
        yield from ('s3://bucket/file.pth', 'x' * 300, f'{folder}/{"y" * 300}.pth')

    def _wrong_checkpoints(self) -> Iterator[str]:
        folder = self.folder / 'wrong'
        weights = load_local(self.weights, 'cpu')['state_dict']
        contents: dict[str, Any] = {
            'number': {'state_dict': 5},
            'listed': {'state_dict': list(weights.values())},
            'integers': {'state_dict': dict(enumerate(weights.values()))},
            'integers_alone': dict(enumerate(weights.values())),
            'texts': {'state_dict': dict.fromkeys(weights, 'x')},
            'tensor': torch.ones(2),
            'nothing': None,
            'meta': {'state_dict': weights, 'meta': 5, 'message_hub': 5, 'optimizer': 5},
            'wrong_shapes': {'state_dict': {name: value.reshape(-1) for name, value in weights.items()}},
            'averaged': {'state_dict': weights, 'ema_state_dict': {1: 2}},
        }
        for name, content in contents.items():
            torch.save(content, folder / f'{name}.pth')
            yield str(folder / f'{name}.pth')
        legacy = folder / 'legacy.pth'
        torch.save({'state_dict': weights}, legacy, _use_new_zipfile_serialization=False)
        whole = legacy.read_bytes()
        for part in (2, 3, 5):
            cut = folder / f'legacy_{part}.pth'
            cut.write_bytes(whole[: len(whole) * part // 6])
            yield str(cut)

    # The inputs

    def inputs(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """Tools, each with a wrong command line; the same for the same count."""
        rng = random.Random(15)
        kinds = (self._wrong_argument, self._wrong_config, self._wrong_config, self._wrong_checkpoint, self._wrong_arch)
        for number in range(count):
            name = sorted(self.commands)[number % len(self.commands)]
            make = rng.choice(kinds)
            yield make(rng, name, number) or self._wrong_argument(rng, name, number)

    def _wrong_argument(self, rng: random.Random, name: str, number: int) -> tuple[str, list[str]]:
        command = list(self.commands[name])
        actions = [action for action in arguments_of(self, name) if action.dest not in LEFT]
        action = rng.choice(actions)
        numeric = action.type in (int, float)
        wrong = [rng.choice(WRONG_NUMBERS if numeric else self.wrong_paths)] * (
            action.nargs if isinstance(action.nargs, int) and action.nargs else 1
        )
        if action.option_strings:
            option = action.option_strings[0]
            return name, [*command, option, *([] if action.nargs == 0 else wrong)]
        positional = [item for item in actions if not item.option_strings].index(action)
        command[positional] = wrong[0]
        return name, command

    def _wrong_config(self, rng: random.Random, name: str, number: int) -> tuple[str, list[str]] | None:
        command = list(self.commands[name])
        config = next((path for path in (self.search, self.classifier) if path in command), None)
        if config is None:
            return None
        settings = spoilt(rng, settings_of(config))
        path = self.folder / f'config_{number}.json'
        path.write_text(json.dumps({**settings, 'experiment_name': f'fuzz_{number}'}))
        command[command.index(config)] = str(path)
        for word in ('--work-dir', '--out-dir'):
            if word in command and name not in ('retrain_topk', 'audit_ranking')[: 2 if word == '--work-dir' else 0]:
                command[command.index(word) + 1] = str(self.folder / f'out_{number}')
        return name, command

    def _wrong_checkpoint(self, rng: random.Random, name: str, number: int) -> tuple[str, list[str]] | None:
        command = list(self.commands[name])
        path = next((path for path in (self.supernet, self.weights) if path in command), None)
        wrong = rng.choice(self.wrong_checkpoints)
        if name == 'train':
            more = ['--resume', wrong] if rng.random() < 0.5 else ['--cfg-options', f'load_from={wrong}']
            return name, [*command, *more]
        if path is None:
            return None
        command[command.index(path)] = wrong
        return name, command

    def _wrong_arch(self, rng: random.Random, name: str, number: int) -> tuple[str, list[str]] | None:
        command = list(self.commands[name])
        if self.arch not in command:
            return None
        path = self.folder / f'arch_{number}.json'
        path.write_text(json.dumps(spoilt(rng, json.loads(Path(self.arch).read_text()))))
        command[command.index(self.arch)] = str(path)
        return name, command


# Names of a config that nothing reads, and those that say what others do.
UNUSED = (
    'root',
    'loader',
    'train_pipeline',
    'test_pipeline',
    'classifier',
    'max_epochs',
    'num_classes',
    'space',
    'work_dir',
)


@cache
def settings_of(config: str) -> dict[str, Any]:
    """What a config says that anything reads."""
    return {key: value for key, value in load_config(config).to_dict().items() if key not in UNUSED}


class _SeenError(Exception):
    """Carries the parser out of a tool."""


@cache
def arguments_of(place: Place, name: str) -> list[Action]:
    """What a tool's own parser takes."""
    found: list[Action] = []

    def seen(parser: ArgumentParser, *_: Any, **__: Any) -> None:
        found.extend(parser._actions)
        raise _SeenError

    with patch.object(ArgumentParser, 'parse_args', seen), suppress(_SeenError):
        place.tool(name)
    return found


def spoilt(rng: random.Random, content: dict[str, Any]) -> dict[str, Any]:
    """Nested data with a wrong value somewhere."""
    content = copy.deepcopy(content)
    where: Any = content
    while True:
        key = rng.choice(list(where) if isinstance(where, dict) else range(len(where)))
        inside = where[key]
        if not isinstance(inside, dict | list) or not inside or rng.random() < 0.3:
            where[key] = rng.choice(WRONG_VALUES)
            return content
        where = inside


def shown(command: Sequence[str]) -> str:
    """A command line, short enough to read."""
    return ' '.join(f'{word[:60]}...' if len(word) > 100 else word or "''" for word in command)
