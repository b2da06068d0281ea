"""Outputs of teachers that are kept, held against the teacher itself, and trainings with them against those without."""

import json
import os
import random
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fresh_python import CONTEXT
from test_feature_distillation import NORMED, RESNET, SUPERNET, TEACHER, trained, weights_of

import mmhybrid.models.kept_outputs as kept_outputs
from mmhybrid.apis.configs import load_config
from mmhybrid.apis.keeping import KeptTeacher
from mmhybrid.apis.training import train
from mmhybrid.commands.keep_teacher import main
from mmhybrid.engine.fixed_views import FixedViews
from mmhybrid.models.build import build_model
from mmhybrid.models.kept_outputs import KeptOutputs, KeptPlan
from mmhybrid.models.teachers import Normalisation
from mmhybrid.registry import MODELS

NUM_IMAGES, NUM_VIEWS, BATCH = 8, 2, 4
PIPELINE = [
    {'type': 'LoadImageFromFile'},
    {'type': 'RandomResizedCrop', 'scale': 64},
    {'type': 'RandomFlip', 'prob': 0.5},
    {'type': 'PackInputs'},
]
FLIPPED = [*PIPELINE[:2], {'type': 'RandomFlip', 'prob': 1.0}, PIPELINE[3]]
PLAIN = [PIPELINE[0], {'type': 'Resize', 'scale': (64, 64)}, PIPELINE[3]]
CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmhybrid'])
model = {model!r}
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset={dataset!r})
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2))
train_cfg = dict(type='mmhybrid.ResumableEpochLoop', max_epochs=3)
default_hooks = dict(checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', interval=1))
randomness = dict(seed=0)
find_unused_parameters = True
log_level = 'WARNING'
"""
MUTATOR = {'type': 'mmhybrid.SandwichMutator', 'num_random': 1}


def features(kind: str, backbone: dict[str, Any] = RESNET, **arguments: Any) -> dict[str, Any]:
    model = {'type': 'mmhybrid.FeatureDistiller', 'backbone': backbone, 'features': kind, 'data_preprocessor': NORMED}
    return {**model, **arguments}


def one_shot() -> dict[str, Any]:
    classifier = {
        'type': 'ImageClassifier',
        'backbone': SUPERNET,
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 32},
        'data_preprocessor': NORMED,
    }
    distillation = {'kind': 'soft', 'alpha': 0.5}
    return {'type': 'mmhybrid.OneShot', 'architecture': classifier, 'mutator': MUTATOR, 'distillation': distillation}


def classifier() -> dict[str, Any]:
    model = one_shot()
    return {
        **model['architecture'],
        'type': 'mmhybrid.TaughtClassifier',
        'backbone': RESNET,
        'head': {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 64},
        'distillation': {'kind': 'hard', 'alpha': 0.5},
    }


MODEL_CONFIGS: dict[str, Callable[[], dict[str, Any]]] = {
    'logits': one_shot,
    'logits of a classifier': classifier,
    'pooled': lambda: features('pooled'),
    'maps': lambda: features('maps', SUPERNET, mutator=MUTATOR),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A teacher, and photographs in folders of five classes."""
    torch.manual_seed(0)
    (tmp_path / 'teacher.py').write_text(TEACHER)
    save_teacher(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        (tmp_path / f'images/{number % 5}').mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f'images/{number % 5}/{number}.png'), photograph(rng))
    return tmp_path


def photograph(rng: np.random.Generator) -> np.ndarray:
    small = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (80, 72), interpolation=cv2.INTER_CUBIC)


def save_teacher(folder: Path) -> None:
    from mmengine.config import Config

    cfg = Config.fromfile(folder / 'teacher.py')
    model = trained(MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor, '_scope_': 'mmpretrain'}))
    torch.save(model.state_dict(), folder / 'teacher.pth')


def config(
    folder: Path, model: dict[str, Any], kept: bool = True, pipeline: list[Any] = PIPELINE, num_views: int | None = 2
) -> str:
    teacher = {'config': str(folder / 'teacher.py'), 'checkpoint': str(folder / 'teacher.pth')}
    if kept:
        teacher['kept'] = str(folder / 'kept')
    with_label = model['type'] != 'mmhybrid.FeatureDistiller'
    dataset = {'type': 'CustomDataset', 'data_root': str(folder / 'images'), 'with_label': with_label}
    dataset['pipeline'] = pipeline
    if num_views is not None:
        dataset = {'type': 'mmhybrid.FixedViews', 'num_views': num_views, 'seed': 3, 'dataset': dataset}
    path = folder / ('kept.py' if kept else 'live.py')
    path.write_text(CONFIG.format(model={**model, 'teacher': teacher}, dataset=dataset))
    return str(path)


def keep(path: str) -> list[int]:
    return list(KeptTeacher(load_config(path)).run())


def views_of(path: str) -> Any:
    from mmengine.registry import DATASETS, DefaultScope

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(load_config(path).train_dataloader.dataset)


def batch_of(model: Any, views: FixedViews, rows: list[tuple[int, int]]) -> tuple[torch.Tensor, list[Any]]:
    data = [views.view(*row) for row in rows]
    batch = {'inputs': [one['inputs'] for one in data], 'data_samples': [one['data_samples'] for one in data]}
    batch = model.data_preprocessor(batch, True)
    return batch['inputs'], batch['data_samples']


# What is kept is what the teacher gives


@pytest.mark.parametrize('kind', MODEL_CONFIGS)
def test_what_is_kept_is_to_the_bit_what_the_teacher_gives(folder: Path, kind: str) -> None:
    """In batches of other images, in another order, as a training has them."""
    assert keep(config(folder, MODEL_CONFIGS[kind]())) == [NUM_IMAGES * NUM_VIEWS]
    live = build_model(load_config(config(folder, MODEL_CONFIGS[kind](), kept=False)))
    kept = build_model(load_config(str(folder / 'kept.py')))
    views = views_of(str(folder / 'kept.py'))
    rows = [(image, view) for image in range(NUM_IMAGES) for view in range(NUM_VIEWS)]
    random.Random(1).shuffle(rows)
    for place in range(0, len(rows), BATCH):
        inputs, samples = batch_of(live, views, rows[place : place + BATCH])
        wanted = live.lesson.of(undone(live, inputs), samples)
        found = kept.lesson.of(undone(kept, inputs), samples)
        assert wanted.shape[0] == BATCH
        assert torch.equal(found, wanted)
        assert len({row.numpy().tobytes() for row in wanted}) == BATCH


def undone(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    return Normalisation.of(model.data_preprocessor).undo(inputs)


@pytest.mark.parametrize('kind', MODEL_CONFIGS)
def test_a_training_with_kept_outputs_is_the_one_without_and_resumes_exactly(folder: Path, kind: str) -> None:
    live = config(folder, MODEL_CONFIGS[kind](), kept=False)
    train(load_config(live, work_dir=str(folder / 'live')))
    wanted = weights_of(folder / 'live', 3)
    path = config(folder, MODEL_CONFIGS[kind]())
    keep(path)
    train(load_config(path, work_dir=str(folder / 'whole')))
    options = {'load_from': str(folder / 'whole/epoch_1.pth'), 'resume': True}
    train(load_config(path, options, work_dir=str(folder / 'resumed')))
    for name in ('whole', 'resumed'):
        found = weights_of(folder / name, 3)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(value, wanted[key]) for key, value in found.items())
    assert not all(torch.equal(value, wanted[key]) for key, value in weights_of(folder / 'whole', 2).items())


def test_the_teacher_computes_nothing_in_a_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(folder, one_shot())
    keep(path)
    monkeypatch.setattr('mmhybrid.models.teachers.Teacher.logits', None)
    train(load_config(path, {'train_cfg.max_epochs': 1}, work_dir=str(folder / 'work')))
    assert (folder / 'work/epoch_1.pth').is_file()


# Views


def test_views_are_a_function_of_the_image_and_their_number(folder: Path) -> None:
    first, second = (views_of(config(folder, features('pooled'))) for _ in range(2))
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    images = {(i, v): first.view(i, v)['inputs'] for i in range(NUM_IMAGES) for v in range(NUM_VIEWS)}
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert len({image.numpy().tobytes() for image in images.values()}) == len(images)
    random.seed(5)
    for (i, v), image in reversed(images.items()):
        assert torch.equal(second.view(i, v)['inputs'], image)
    drawn = [second[3]['inputs'].numpy().tobytes() for _ in range(40)]
    assert set(drawn) == {images[3, v].numpy().tobytes() for v in range(NUM_VIEWS)}
    other = views_of(config(folder, features('pooled')))
    other.seed = 4
    assert not torch.equal(other.view(3, 0)['inputs'], images[3, 0])
    assert len(other) == NUM_IMAGES
    assert Path(other.get_data_info(0)['img_path']).name == '0.png'


def test_a_pipeline_that_draws_nothing_needs_no_views(folder: Path) -> None:
    assert keep(config(folder, features('pooled'), pipeline=PLAIN, num_views=None)) == [NUM_IMAGES]
    with pytest.raises(
        ValueError, match=r"train_dataloader\.dataset: got 'another image each time', allowed: mmhybrid"
    ):
        keep(config(folder, features('pooled'), num_views=None))


# What has changed


def test_only_what_changed_is_computed_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_outputs, 'ROWS', 8)
    path = config(folder, features('pooled'))
    assert keep(path) == [8, 8]
    assert keep(path) == [0, 0]
    cv2.imwrite(str(folder / 'images/0/0.png'), photograph(np.random.default_rng(5)))
    with pytest.raises(
        ValueError, match=r'kept: no outputs for \S+images/0/0\.png as it is here: the image, its pipeli'
    ):
        train(load_config(path, work_dir=str(folder / 'work')))
    assert keep(path) == [BATCH, BATCH]
    train(load_config(path, work_dir=str(folder / 'work')))


def test_another_pipeline_is_refused(folder: Path) -> None:
    keep(config(folder, features('pooled')))
    path = config(folder, features('pooled'), pipeline=FLIPPED)
    with pytest.raises(ValueError, match=r'no outputs for .* as it is here'):
        train(load_config(path, work_dir=str(folder / 'work')))


def changed_weights(folder: Path) -> str:
    torch.manual_seed(7)
    save_teacher(folder)
    return str(folder / 'kept.py')


def changed_teacher(folder: Path) -> str:
    text = (folder / 'teacher.py').read_text()
    (folder / 'teacher.py').write_text(text.replace('mean=[90.0', 'mean=[91.0'))
    return str(folder / 'kept.py')


def changed_student(folder: Path) -> str:
    return config(folder, features('pooled', data_preprocessor={**NORMED, 'mean': [1.0, 2.0, 3.0]}))


CHANGES = {
    'teacher.weights': changed_weights,
    'teacher.network': changed_teacher,
    'student.mean[0]': changed_student,
    'kind': lambda folder: config(folder, features('maps')),
}


@pytest.mark.parametrize('what', CHANGES)
def test_outputs_of_something_else_are_refused_by_name(folder: Path, what: str) -> None:
    keep(config(folder, features('pooled')))
    path = CHANGES[what](folder)
    told = re.escape(f'kept: outputs of another teacher, model or data set: {what} was ')
    for use in (lambda: train(load_config(path, work_dir=str(folder / 'work'))), lambda: keep(path)):
        with pytest.raises(ValueError, match=told):
            use()


def test_images_that_are_mixed_anew_are_refused(folder: Path) -> None:
    model = one_shot()
    model['architecture']['train_cfg'] = {'augments': {'type': 'Mixup', 'alpha': 0.2}}
    with pytest.raises(
        ValueError, match=r'teacher\.kept: got .*, allowed: None, where train_cfg\.augments mixes images'
    ):
        build_model(load_config(config(folder, model)))


def test_pixels_that_are_none_are_refused(folder: Path) -> None:
    keep(config(folder, features('pooled')))
    model = build_model(load_config(str(folder / 'kept.py')))
    with pytest.raises(ValueError, match=r"teacher\.kept: got 'kept outputs', allowed: None for images that are mixed"):
        model(torch.rand(2, 3, 64, 64), mode='loss')


# Processes that are killed


def keep_slowly(path: str) -> None:
    torch.set_num_threads(1)
    kept_outputs.ROWS = 4
    for _ in KeptTeacher(load_config(path)).run():
        time.sleep(0.3)


def test_a_killed_process_goes_on_and_nothing_half_written_is_read(folder: Path, monkeypatch: Any) -> None:
    path = config(folder, features('pooled'))
    process = CONTEXT.Process(target=keep_slowly, args=(path,))
    process.start()
    deadline = time.monotonic() + 120
    while not (folder / 'kept/digests-00001.npy').exists():
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    monkeypatch.setattr(kept_outputs, 'ROWS', 4)
    with pytest.raises(
        ValueError, match=r'number of files that are finished: got [23], allowed: 4; `mmhybrid keep-teach'
    ):
        train(load_config(path, work_dir=str(folder / 'work')))
    finished = len(list((folder / 'kept').glob('digests-*.npy')))
    # killed between the two files
    shutil.copy(folder / 'kept/outputs-00000.npy', folder / 'kept/outputs-00003.npy')
    assert keep(path) == [0] * finished + [BATCH] * (4 - finished)
    found = np.concatenate([np.load(folder / f'kept/outputs-{i:05}.npy') for i in range(4)])
    shutil.rmtree(folder / 'kept')
    keep(path)
    whole = np.concatenate([np.load(folder / f'kept/outputs-{i:05}.npy') for i in range(4)])
    assert np.array_equal(found, whole)


def test_digests_go_before_outputs_are_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else old digests would name new outputs, if the process is killed between."""
    keep(config(folder, features('pooled')))
    file = KeptPlan.read(folder / 'kept').file(folder / 'kept', 0)
    monkeypatch.setattr(kept_outputs, 'write_whole', lambda path, content: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        file.write(file.digests(), file.outputs() + 1)
    assert not file.is_there()


# Ranks


def rank(number: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = Path(folder, 'port').read_text()
    options = {
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': BATCH,
        'env_cfg': {'dist_cfg': {'backend': 'gloo'}},
    }
    train(load_config(f'{folder}/kept.py', options, f'{folder}/ranks', 'pytorch'))


def test_two_ranks_share_what_is_kept(folder: Path) -> None:
    keep(config(folder, features('pooled')))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        (folder / 'port').write_text(str(free.getsockname()[1]))
    ranks = [CONTEXT.Process(target=rank, args=(number, str(folder))) for number in range(2)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(120)
    assert [one.exitcode for one in ranks] == [0, 0]
    assert (folder / 'ranks/epoch_1.pth').is_file()


# Files of others


def plan_with(**changes: Any) -> Callable[[Path], None]:
    def change(kept: Path) -> None:
        content = json.loads((kept / 'kept.json').read_text())
        (kept / 'kept.json').write_text(json.dumps({**content, **changes}))

    return change


def array(name: str, content: np.ndarray) -> Callable[[Path], None]:
    return lambda kept: np.save(kept / name, content)


def cut_off(kept: Path) -> None:
    path = kept / 'outputs-00000.npy'
    path.write_bytes(path.read_bytes()[:-4])


def archive(kept: Path) -> None:
    np.savez(kept / 'a.npz', np.zeros((16, 64), np.float32))
    (kept / 'a.npz').rename(kept / 'outputs-00000.npy')


def pickled(kept: Path) -> None:
    class Trace:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(kept / 'trace'),)

    np.save(kept / 'outputs-00000.npy', np.array([[Trace()]], dtype=object), allow_pickle=True)


def piped(kept: Path) -> None:
    (kept / 'digests-00000.npy').unlink()
    os.mkfifo(kept / 'digests-00000.npy')


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    'no plan': (
        lambda kept: (kept / 'kept.json').unlink(),
        r'teacher\.kept: got .*, allowed: a folder of `mmhybrid keep',
    ),
    'format': (plan_with(format=2), r'kept\.json: format: got 2, allowed: one of \[1\]'),
    'rows': (plan_with(rows=10**200), r'number of files that are finished: got 1, allowed: 9765625'),
    'one row more': (
        plan_with(rows=17),
        r'digests-00000\.npy: an array of uint8 \(16, 16\), allowed: uint8 \(17, 16\)',
    ),
    'shape': (plan_with(shape=[10**9]), r'shape\[0\] was 1000000000, now 64'),
    'negative shape': (plan_with(shape=[-1]), r'kept\.json: shape: got -1, allowed: an int >= 1'),
    'teacher': (plan_with(teacher='a'), r"kept\.json: teacher: got 'a', allowed: a dict"),
    'surplus': (plan_with(other=1), r'kept\.json: surplus other'),
    'cut off': (cut_off, r'outputs-00000\.npy: no array of NumPy, or one that was cut off'),
    'no array': (
        lambda kept: (kept / 'outputs-00000.npy').write_bytes(b'a' * 99),
        r'outputs-00000\.npy: no array of Nu',
    ),
    'archive': (archive, r'outputs-00000\.npy: no array of NumPy'),
    'pickle': (pickled, r'outputs-00000\.npy: no array of NumPy'),
    'doubles': (array('outputs-00000.npy', np.zeros((16, 64))), r'float64 \(16, 64\), allowed: float32 \(16, 64\)'),
    'columns': (
        array('outputs-00000.npy', np.zeros((64, 16), np.float32).T),
        r'an array of float32 \(16, 64\), allowed',
    ),
    'pipe': (piped, r'digests-00000\.npy is not a file'),
    'file missing': (lambda kept: (kept / 'outputs-00000.npy').unlink(), r'outputs-00000\.npy does not exist'),
}


@pytest.mark.parametrize('attack', HOSTILE)
def test_files_of_others_are_data_or_refused(folder: Path, attack: str) -> None:
    keep(config(folder, features('pooled')))
    spoil, told = HOSTILE[attack]
    spoil(folder / 'kept')
    model = build_model(load_config(str(folder / 'kept.py')))
    inputs, samples = batch_of(model, views_of(str(folder / 'kept.py')), [(0, 0), (1, 0)])
    with pytest.raises(ValueError, match=told):
        model(inputs, samples, mode='loss')
    assert not (folder / 'kept/trace').exists()


def test_nothing_is_written_through_a_link(folder: Path) -> None:
    (folder / 'kept').mkdir()
    (folder / 'precious').write_text('kept')
    (folder / 'kept/outputs-00000.npy').symlink_to(folder / 'precious')
    (folder / 'kept/kept.json').symlink_to(folder / 'not_there')
    keep(config(folder, features('pooled')))
    assert (folder / 'precious').read_text() == 'kept'
    assert not (folder / 'not_there').exists()
    assert not any(path.is_symlink() for path in (folder / 'kept').iterdir())


def test_a_file_is_no_folder(folder: Path) -> None:
    (folder / 'kept').write_text('')
    with pytest.raises(ValueError, match=r'teacher\.kept: got .*kept.*, allowed: a folder'):
        keep(config(folder, features('pooled')))


# The command


def test_the_command_tells_what_it_did(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = config(folder, features('maps'))
    main([path])
    assert capsys.readouterr().out.endswith(f'{folder}/kept: 16 outputs of shape (64, 2, 2), 16 of them new\n')
    main([path])
    assert capsys.readouterr().out.endswith('16 outputs of shape (64, 2, 2), 0 of them new\n')
    for words, told in (
        ([config(folder, features('maps'), kept=False)], 'model.teacher.kept: got None, allowed: the folder'),
        ([path, '--device', 'abacus'], "device: got 'abacus'"),
        ([path, '--cfg-options', 'train_dataloader.dataset.num_views=3'], 'rows was 16, now 24'),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert told in capsys.readouterr().err


def test_equal_images_have_one_output(folder: Path) -> None:
    shutil.copy(folder / 'images/0/0.png', folder / 'images/1/copy.png')
    path = config(folder, features('pooled'), pipeline=PLAIN, num_views=None)
    keep(path)
    lesson = build_model(load_config(path)).lesson
    outputs = KeptOutputs(folder / 'kept', 'pooled', lesson.teacher.record(), lesson.student, 64)
    digests = KeptPlan.read(folder / 'kept').file(folder / 'kept', 0).digests()
    found = outputs.of(digests, [''] * len(digests))
    assert len({row.numpy().tobytes() for row in found}) == NUM_IMAGES
