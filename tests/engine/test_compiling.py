"""A training with compiled backbones learns what one without learns, and compiles a few graphs once."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmhybrid.apis import training
from mmhybrid.models.backbones import GLNet
from mmhybrid.models.checkpoints import load_local
from mmhybrid.torch_api import TORCH, why_not_compiled

ARCH = {
    'embed_dims': [32] * 4,
    'depths': [1] * 4,
    'ffn_ratios': [1] * 4,
    'mixers': ['glmix', 'local', 'glmix', 'mhsa'],
    'local_kernels': [3] * 4,
    'num_slots': [16, 4, 4, 16],
    'pos_encoding': True,
    'conv_ffn': True,
}
NUM_IMAGES = 8  # batches of 3, 3 and 2
SUPERNET = {
    'type': 'mmhybrid.Supernet',
    'space': {'type': 'mmhybrid.GLNetSpace', 'around': ARCH},
    'backbone': {'type': 'mmhybrid.GLNet'},
}
AOT = {'backend': 'aot_eager'}  # torch's tracing and its backward graph, run by eager operators
needs_compile = pytest.mark.skipif(TORCH < (2, 6), reason='older ones make several graphs of a network')


@MODELS.register_module(force=True)
class CompiledToy(BaseModel):
    """A GLNet and a linear layer, or what ``backbone`` builds."""

    def __init__(self, backbone: dict[str, Any] | None = None, drop_path_rate: float = 0.5) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone) if backbone else GLNet(arch=ARCH, drop_path_rate=drop_path_rate)
        self.head = nn.Linear(32, 2)

    def forward(self, inputs: list[Tensor], mode: str = 'tensor') -> Any:
        """The loss against zero, or a score for each image."""
        images = torch.stack(inputs)
        logits = self.head(self.backbone(images)[-1].mean((2, 3)))
        return {'loss': logits.square().mean()} if mode == 'loss' else list(logits.sum(1))


@DATASETS.register_module(force=True)
class CompiledToyImages(Dataset):
    """Images of noise."""

    METAINFO: dict[str, Any] = {}

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {'inputs': torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(index))}


@METRICS.register_module(force=True)
class CompiledToySum(BaseMetric):
    """The sum of the scores."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Collect the scores."""
        self.results += [score.item() for score in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Their sum."""
        return {'sum': sum(results)}


@HOOKS.register_module(force=True)
class CompiledToyRecord(Hook):
    """Graphs that torch made by the end of each validation, and the scores."""

    graphs: list[int] = []
    scores: list[float] = []

    def before_train(self, runner: Runner) -> None:
        """Begin anew."""
        self.graphs.clear()
        self.scores.clear()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add one of each."""
        self.graphs.append(torch._dynamo.utils.counters['stats']['unique_graphs'])
        self.scores.append((metrics or {})['sum'])


def train(folder: Path, compile: Any, epochs: int = 2, **more: Any) -> dict[str, dict[str, Tensor]]:
    """Train, and return the last checkpoint."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    sampler = {'type': 'DefaultSampler', 'shuffle': True}
    loader = {'batch_size': 3, 'num_workers': 0, 'dataset': {'type': 'CompiledToyImages'}, 'sampler': sampler}
    settings = {
        'experiment_name': uuid.uuid4().hex,
        'work_dir': str(folder),
        'model': {'type': 'CompiledToy'},
        'train_dataloader': loader,
        'train_cfg': {'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': epochs},
        'val_dataloader': {**loader, 'batch_size': 5, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
        'val_cfg': {},
        'val_evaluator': {'type': 'CompiledToySum'},
        'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.01}},
        'default_hooks': {'checkpoint': {'type': 'mmhybrid.AtomicCheckpointHook', 'interval': 1}},
        'custom_hooks': [{'type': 'EMAHook', 'momentum': 0.2}, {'type': 'CompiledToyRecord', 'priority': 'LOWEST'}],
        'randomness': {'seed': 1},
        'compile': compile,
        **more,
    }
    training.train(Config(settings))
    state = load_local(str(folder / f'epoch_{epochs}.pth'), 'cpu')
    return {name: state[name] for name in ('state_dict', 'ema_state_dict')}


def assert_close(found: Mapping[str, Mapping[str, Tensor]], expected: Mapping[str, Mapping[str, Tensor]]) -> None:
    for kind, weights in expected.items():
        assert found[kind].keys() == weights.keys()
        for name, weight in weights.items():
            torch.testing.assert_close(found[kind][name], weight, rtol=1e-3, atol=1e-5, msg=f'{kind} {name}')


@needs_compile
def test_learns_the_same(tmp_path: Path) -> None:
    plain = train(tmp_path / 'plain', compile=False)
    scores = list(CompiledToyRecord.scores)
    assert CompiledToyRecord.graphs == [0, 0]
    compiled = train(tmp_path / 'compiled', compile=AOT)
    assert_close(compiled, plain)
    assert CompiledToyRecord.scores == pytest.approx(scores, rel=1e-4)
    # a batch of 3, any batch, and validation; nothing more after the first epoch
    assert 2 <= CompiledToyRecord.graphs[0] <= 4
    assert set(CompiledToyRecord.graphs) == {CompiledToyRecord.graphs[0]}


@needs_compile
@pytest.mark.slow
def test_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = train(tmp_path / 'whole', compile=AOT)
    train(tmp_path / 'parts', compile=AOT, epochs=1)
    assert_close(train(tmp_path / 'parts', compile=AOT, resume=True), whole)


@needs_compile
def test_an_empty_dict_asks_for_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GLNet, 'compile', lambda self, **arguments: seen.append(arguments))
    seen: list[dict[str, Any]] = []
    train(tmp_path, compile={}, epochs=1)
    assert seen == [{'fullgraph': True}]
    assert CompiledToyRecord.graphs == [0]  # nor is the step compiled around the backbone


@needs_compile
@pytest.mark.parametrize(
    ('compile', 'more', 'message'),
    [
        ('yes', {}, "compile: got 'yes', allowed: true, false, or a dict of the arguments of torch.compile"),
        ({'speed': 2}, {}, r"compile: got {'speed': 2}, allowed: true, .*: .*unexpected keyword argument 'speed'"),
        ({'backend': 'fast'}, {}, r"compile: got {'backend': 'fast'}, allowed: .*[Ii]nvalid backend"),
        (True, {'model': {'type': 'CompiledToy', 'backbone': SUPERNET}}, 'allowed: false for a supernet'),
    ],
)
def test_refuses(tmp_path: Path, compile: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(tmp_path, compile, **more)


@needs_compile
def test_says_what_the_machine_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    with pytest.raises(
        ValueError, match=r'compile: got True, allowed: false on this machine, which has no C\+\+ compiler'
    ):
        train(tmp_path, compile=True)


@needs_compile
@pytest.mark.slow
@pytest.mark.skipif(why_not_compiled('cpu') is not None, reason='a C++ compiler is missing')
def test_compiled_code_learns_the_same(tmp_path: Path) -> None:
    plain = train(tmp_path / 'plain', compile=False, model={'type': 'CompiledToy', 'drop_path_rate': 0.0})
    compiled = train(tmp_path / 'compiled', compile=True, model={'type': 'CompiledToy', 'drop_path_rate': 0.0})
    assert CompiledToyRecord.graphs[0] > 0
    assert_close(compiled, plain)
