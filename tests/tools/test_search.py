"""The search tool over a supernet with random weights, on generated data."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from search_demo import BUDGET, ROOT, make_search

from mmhybrid.apis.configs import load_config
from mmhybrid.commands import search, search_report
from mmhybrid.counting.workload import Workload
from mmhybrid.engine.search_origin import check_disjoint
from mmhybrid.latency.analytic import NOMINAL, AnalyticLatency
from mmhybrid.latency.devices import Device
from mmhybrid.latency.rounds import Measurement
from mmhybrid.latency.table import Entry, LatencyTable, Uncertainty, parts_of_space
from mmhybrid.models.checkpoints import load_local
from mmhybrid.space import Arch


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_search(tmp_path_factory.mktemp('search'))


@pytest.fixture(scope='module')
def finished(demo: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A finished search, whose folder tests look at and do not change."""
    folder = tmp_path_factory.mktemp('finished')
    run(demo, folder)
    return {**demo, 'work_dir': str(folder)}


@pytest.fixture
def again(finished: dict[str, str], tmp_path: Path) -> Path:
    """A copy of its folder."""
    return Path(shutil.copytree(finished['work_dir'], tmp_path / 'again'))


def run(demo: dict[str, str], work_dir: Path, *arguments: str) -> list[list[str]]:
    search.main([demo['config'], '--checkpoint', demo['checkpoint'], '--work-dir', str(work_dir), *arguments])
    return table(work_dir)


def table(work_dir: Path) -> list[list[str]]:
    with open(work_dir / 'topk.csv') as file:
        return list(csv.reader(file))


def test_finds_archs_within_the_constraints_the_same_each_time(finished: dict[str, str], tmp_path: Path) -> None:
    first = table(Path(finished['work_dir']))
    assert run(finished, tmp_path) == first
    header, *rows = first
    assert len(rows) == BUDGET
    assert all(float(row[header.index('params_m')]) <= 0.5 for row in rows)
    assert len({row[-1] for row in rows}) == BUDGET
    scores = [float(row[header.index('accuracy/top1')]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    best = json.loads((tmp_path / 'best_arch.json').read_text())
    assert Arch(best['arch']) == Arch.from_json(rows[0][-1])
    assert best['metrics']['accuracy/top1'] == scores[0]


def test_searches_the_checkpoint_whatever_its_training_began_with(finished: dict[str, str], tmp_path: Path) -> None:
    weights = load_local(finished['checkpoint'], 'cpu')['state_dict']
    noise = torch.Generator().manual_seed(1)
    others = {
        name: torch.randn(w.shape, generator=noise) if w.is_floating_point() else w for name, w in weights.items()
    }
    torch.save({'state_dict': others}, tmp_path / 'others.pth')
    plain = table(Path(finished['work_dir']))
    assert run(finished, tmp_path / 'loads', '--cfg-options', f'load_from={tmp_path / "others.pth"}') == plain
    assert run(finished, tmp_path / 'resumes', '--cfg-options', 'resume=True') == plain


def test_resume_takes_up_what_is_stored(finished: dict[str, str], again: Path) -> None:
    whole = table(again)
    with pytest.raises(SystemExit, match='holds a search already'):
        run(finished, again)
    (again / 'topk.csv').unlink()
    assert run(finished, again, '--resume') == whole


def test_mistakes_end_with_one_sentence(demo: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def fails(*options: str, config: str = demo['config'], checkpoint: str = demo['checkpoint']) -> str:
        with pytest.raises(SystemExit) as ended:
            search.main([config, '--checkpoint', checkpoint, '--work-dir', str(tmp_path), *options])
        assert ended.value.code == 2
        return capsys.readouterr().err

    assert 'checkpoint none.pth does not exist' in fails(checkpoint='none.pth')
    assert 'a search needs search_cfg' in fails(config=str(ROOT / 'configs/demo/autovit_supernet.py'))
    overlap = fails('--cfg-options', 'val_dataloader.dataset.ann_file=', 'val_dataloader.dataset.data_prefix=val')
    assert 'val_dataloader: 4 of its images are in the test set too' in overlap
    calibration = 'search_cfg.calibration.dataset.'
    overlap = fails('--cfg-options', f'{calibration}ann_file=', f'{calibration}data_prefix=val')
    assert 'calibration.dataset: 4 of its images are in the test set too' in overlap
    assert 'calibration: surplus images' in fails('--cfg-options', 'search_cfg.calibration.images=3')
    (tmp_path / 'folder').mkdir()
    assert 'folder' in fails('--storage', str(tmp_path / 'folder'))
    assert 'none.json does not exist' in fails('--cfg-options', f'search_cfg.latency_table={tmp_path / "none.json"}')


def test_infeasible_constraints_are_named(demo: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / 'infeasible.py'
    path.write_text(f'_base_ = [{demo["config"]!r}]\nsearch_cfg = dict(constraints=dict(params_m=dict(max=0.001)))\n')
    assert Config.fromfile(path).search_cfg.constraints.params_m.max == 0.001
    with pytest.raises(SystemExit, match=r'params_m <= 0.001: 100'):
        search.main([str(path), '--checkpoint', demo['checkpoint'], '--work-dir', str(tmp_path)])


def test_a_constraint_on_the_upper_bound_of_latency(demo: dict[str, str], tmp_path: Path) -> None:
    AnalyticLatency(NOMINAL).save(tmp_path / 'analytic.json')
    options = ['--cfg-options', f'search_cfg.latency_table={tmp_path / "analytic.json"}']
    header, *rows = run(demo, tmp_path / 'free', *options)
    estimate, bound = header.index('latency_ms'), header.index('latency_upper_ms')
    assert all(float(row[estimate]) < float(row[bound]) for row in rows)
    limit = sorted(float(row[bound]) for row in rows)[1]
    path = tmp_path / 'bounded.py'
    constraint = {'latency_upper_ms': {'max': limit}}
    path.write_text(f'_base_ = [{demo["config"]!r}]\nsearch_cfg = dict(constraints={constraint})\n')
    _, *rows = run({**demo, 'config': str(path)}, tmp_path / 'bounded', *options)
    assert len(rows) == BUDGET
    assert max(float(row[bound]) for row in rows) <= limit


def test_functions_are_called_as_the_architecture_page_tells(demo: dict[str, str], tmp_path: Path) -> None:
    """Functions are first called in the order of each table, while a search with a latency table runs."""
    page = (ROOT / 'docs/architecture.md').read_text().partition('## Traces of a search')[2].partition('\n## ')[0]
    walks = [
        re.findall(r'^\| `(\S+)` \| `(\w+)` \|', block, re.MULTILINE) for block in page.split('| --- | --- | --- |')
    ]
    assert [len(walk) for walk in walks] == [0, 10, 8]
    path = save_table(demo, tmp_path / 'table.json')
    calls: dict[tuple[str, str], int] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == 'call':
            file = frame.f_code.co_filename.rpartition('/mmhybrid/')[2]
            calls.setdefault((file, frame.f_code.co_name), len(calls))

    options = [f'search_cfg.latency_table={path}', 'search_cfg.constraints.latency_ms.max=1e6']
    sys.setprofile(note)
    try:
        run(demo, tmp_path / 'run', '--cfg-options', *options)
    finally:
        sys.setprofile(None)
    for walk in walks:
        places = [calls[step] for step in walk]
        assert places == sorted(places)


def save_table(demo: dict[str, str], path: Path) -> Path:
    """A table in which every part of the demo's networks takes a millisecond."""
    cfg = load_config(demo['config'])
    workload = Workload.of_model(cfg.model, None)
    table = LatencyTable(
        workload=workload.to_config(),
        device=Device.here('cpu', 'eager', 'float32', 1, 1),
        uncertainty=Uncertainty(residual=0.1, shrink=0.5, repeatability=0.0, speed_spread=0.0),
        entries=dict.fromkeys(parts_of_space(workload), Entry(1.0, 0.1, 10)),
        measurements=(Measurement(dict(workload.space.largest()), 12.0, 0.1, 10),),
    )
    table.save(path)
    return path


def test_a_damaged_storage_is_left_untouched(finished: dict[str, str], again: Path) -> None:
    journal = again / 'search.journal'
    damaged = journal.read_bytes().replace(b'"accuracy/top1":', b'"accuracy/top1":1', 1)
    assert damaged != journal.read_bytes()
    journal.write_bytes(damaged)
    with pytest.raises(SystemExit, match=r'search\.journal is damaged: trial \d is not as it was written') as ended:
        run(finished, again, '--resume')
    assert '\n' not in str(ended.value)
    assert journal.read_bytes() == damaged


def test_the_storage_may_be_named_in_the_config(demo: dict[str, str], tmp_path: Path) -> None:
    run(demo, tmp_path, '--cfg-options', f'search_cfg.storage={tmp_path / "mine.journal"}')
    assert (tmp_path / 'mine.journal').exists()
    assert not (tmp_path / 'search.journal').exists()


def test_another_supernet_does_not_go_on_with_a_search(finished: dict[str, str], again: Path) -> None:
    other = load_local(finished['checkpoint'], 'cpu')
    next(iter(other['state_dict'].values())).mul_(2)
    torch.save(other, again / 'other.pth')
    with pytest.raises(SystemExit, match='weights'):
        run({**finished, 'checkpoint': str(again / 'other.pth')}, again, '--resume')


def test_what_fails_in_all_evaluations_ends_the_search_with_its_reason(
    demo: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mmpretrain.evaluation import Accuracy

    def fail(self: Accuracy, results: list) -> dict:
        raise ValueError('array too small')

    monkeypatch.setattr(Accuracy, 'compute_metrics', fail)
    with pytest.raises(SystemExit, match=r'3 of 3 evaluations failed.*: 3 x ValueError: array too small') as ended:
        run(demo, tmp_path)
    assert '\n' not in str(ended.value)
    assert 'Traceback' in caplog.text
    assert 'the evaluation of {"' in caplog.text


def test_an_evaluation_that_ended_half_way_leaves_nothing_to_the_next(
    finished: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmpretrain.evaluation import Accuracy

    whole = table(Path(finished['work_dir']))
    compute = Accuracy.compute_metrics
    calls = []

    def fail_at_first(self: Accuracy, results: list) -> dict:
        calls.append(len(results))
        if len(calls) % 2:
            raise ValueError('once')
        return compute(self, results)

    monkeypatch.setattr(Accuracy, 'compute_metrics', fail_at_first)
    assert run(finished, tmp_path) == whole
    assert len(set(calls)) == 1


def test_numbers_of_numpy_are_scores(demo: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmpretrain.evaluation import Accuracy

    monkeypatch.setattr(Accuracy, 'compute_metrics', lambda self, results: {'mIoU': np.float32(0.25), 'text': 'a'})
    rows = run(demo, tmp_path, '--cfg-options', 'search_cfg.objectives.0.name=accuracy/mIoU')
    assert all(float(row[rows[0].index('accuracy/mIoU')]) == 0.25 for row in rows[1:])


def test_images_in_memory_are_told_apart_by_their_pixels() -> None:
    class Images:
        def __init__(self, values: list[int]) -> None:
            self.values = values

        def __len__(self) -> int:
            return len(self.values)

        def get_data_info(self, index: int) -> dict:
            return {'img': np.full((2, 2, 3), self.values[index], np.uint8), 'gt_label': 0}

    DATASETS.register_module(name='ImagesOfATest', module=lambda: Images([1, 2, 3]), force=True)
    test = {'dataset': {'type': 'ImagesOfATest'}}
    check_disjoint({'val_dataloader': Images([4, 5])}, test)
    with pytest.raises(ValueError, match='val_dataloader: 1 of its images'):
        check_disjoint({'val_dataloader': Images([3, 4])}, test)


@pytest.mark.parametrize(
    ('option', 'named'),
    [
        ('val_dataloader.dataset.pipeline.1.scale=48', 'validation.pipeline'),
        ('data_preprocessor.mean=[0,0,0]', 'model.data_preprocessor.mean'),
        ('val_evaluator.topk=(1,5)', 'evaluator.topk'),
        ('search_cfg.calibration.dataset.pipeline.1.scale=48', 'calibration data.pipeline'),
    ],
)
def test_scores_of_another_evaluation_are_not_mixed_in(
    finished: dict[str, str], again: Path, option: str, named: str
) -> None:
    with pytest.raises(SystemExit, match=f'origin: {named}'):
        run(finished, again, '--resume', '--cfg-options', option)


def test_other_images_of_the_same_names_are_noticed(finished: dict[str, str], again: Path, tmp_path: Path) -> None:
    """The same number of files with the same names, moved elsewhere, go on; with one of them changed they do not."""
    root = Path(load_config(finished['config']).val_dataloader.dataset.data_root)
    moved = tmp_path / 'moved'
    shutil.copytree(root, moved)
    options = [f'{name}.data_root={moved}' for name in ('val_dataloader.dataset', 'test_dataloader.dataset')]
    run(finished, again, '--resume', '--cfg-options', *options)
    first = sorted(path for path in moved.rglob('*.jpg') if 'train' in path.parts)
    for path in first:
        path.write_bytes(path.read_bytes() + b' ')
    with pytest.raises(SystemExit, match='origin: validation images'):
        run(finished, again, '--resume', '--cfg-options', *options)


def with_stages(demo: dict[str, str], path: Path, stages: dict[str, dict], **settings: object) -> dict[str, str]:
    """The demo's search with other stages."""
    search_cfg = {'stages': {'_delete_': True, **stages}, **settings}
    path.write_text(f'_base_ = [{demo["config"]!r}]\nsearch_cfg = dict(**{search_cfg!r})\n')
    return {**demo, 'config': str(path)}


def test_a_search_starts_from_what_another_one_found(finished: dict[str, str], tmp_path: Path) -> None:
    best = json.loads(Path(finished['work_dir'], 'best_arch.json').read_text())['arch']
    with open(Path(finished['work_dir'], 'topk.csv')) as file:
        third = json.loads(list(csv.DictReader(file))[2]['arch'])
    start = [f'{finished["work_dir"]}/best_arch.json', f'{finished["work_dir"]}/topk.csv:3']
    stage = {'sampler': {'type': 'Evolution'}, 'budget': 4, 'population': 4, 'start': start}
    rows = run(with_stages(finished, tmp_path / 'on.py', {'on': stage}), tmp_path)
    found = [json.loads(row[-1]) for row in rows[1:]]
    assert best in found
    assert third in found
    for name, reason in (('none.json', 'none.json does not exist'), ('s', r'stage on.start\[0\]: .*allowed')):
        with pytest.raises(SystemExit) as ended:
            run(with_stages(finished, tmp_path / 'off.py', {'on': {**stage, 'start': [name]}}), tmp_path / 'off')
        assert ended.value.code == 2, reason


def test_the_best_network_is_written_whenever_a_search_ends(
    demo: dict[str, str], finished: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmpretrain.evaluation import Accuracy

    compute, calls = Accuracy.compute_metrics, []

    def interrupt(self: Accuracy, results: list) -> dict:
        calls.append(len(results))
        if len(calls) == 5:  # two generations are of three networks each
            raise KeyboardInterrupt
        return compute(self, results)

    monkeypatch.setattr(Accuracy, 'compute_metrics', interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(demo, tmp_path)
    monkeypatch.undo()
    written = {name: (tmp_path / name).read_text() for name in ('best_arch.json', 'topk.csv')}
    assert len(written['topk.csv'].splitlines()) == 1 + 4
    for name in written:
        (tmp_path / name).unlink()
    search_report.main([str(tmp_path), '--best'])
    before = list(csv.reader(written['topk.csv'].splitlines()))[1:]
    for row, again in zip(before, table(tmp_path)[1:], strict=True):
        assert again[:-1] == row[:-1]
        assert Arch.from_json(again[-1]) == Arch.from_json(row[-1])
    assert json.loads((tmp_path / 'best_arch.json').read_text()) == json.loads(written['best_arch.json'])
    assert run(demo, tmp_path, '--resume') == table(Path(finished['work_dir']))


def test_a_search_that_falls_far_short_of_its_budget_says_so(
    demo: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stages = {'few': {'sampler': {'type': 'RandomSampler'}, 'budget': 6, 'population': 6}}
    few = with_stages(demo, tmp_path / 'few.py', stages, max_tries=1, constraints={'params_m': {'max': 0.46}})
    with pytest.raises(SystemExit) as ended:
        run(few, tmp_path)
    assert ended.value.code == search.SHORT
    assert re.search('only [1-5] of 6 networks were found and evaluated', capsys.readouterr().err)
    assert (tmp_path / 'best_arch.json').exists()
