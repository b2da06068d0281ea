"""A network in int8: layers with weights are quantised by the ranges of images, all else computes in float32."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exported_toy import TINY
from torch import nn

from mmhybrid.commands.latency_report import take_apart
from mmhybrid.latency.backends import BACKENDS, Backend, OnnxRuntimeBackend
from mmhybrid.latency.devices import Device
from mmhybrid.latency.held_out import parts_alone
from mmhybrid.latency.quantization import groups_of, quantized
from mmhybrid.latency.timing import Plan
from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.torch_api import EXPORTING

pytestmark = pytest.mark.torch_since(*EXPORTING)
onnx = pytest.importorskip('onnx')
runtime = pytest.importorskip('onnxruntime')


class Tokens(nn.Module):
    """A convolution, attention over its pixels, and logits."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 4, 4)
        self.attention = SelfAttention(32, 2, 16)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        """Images -> logits."""
        return self.head(self.attention(self.conv(x).relu().flatten(2).transpose(1, 2)).mean(1))


@pytest.fixture(scope='module')
def images():
    return torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 4 - 2


@pytest.fixture(scope='module')
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tokens().eval()


@pytest.fixture(scope='module')
def content(network, images):
    file = io.BytesIO()
    torch.onnx.export(network, (images[:1],), dynamo=True, verbose=False).save(file)
    return file.getvalue()


@pytest.fixture(scope='module')
def in_int8(content, images):
    return quantized(content, [image[None].numpy() for image in images])


def run(content, images):
    session = runtime.InferenceSession(content, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None].numpy()})[0] for image in images])


def is_dequantised(node):
    return node is not None and node.op_type == 'DequantizeLinear'


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_what_is_quantised(in_int8):
    """Layers take int8 weights with a scale for each channel, but for the last one and products of activations."""
    graph = onnx.load_from_string(in_int8).graph
    constants = {each.name: each for each in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    layers = [node for node in graph.node if node.op_type in ('Conv', 'Gemm', 'MatMul')]
    is_int8 = {node.name: [is_dequantised(made_by.get(name)) for name in node.input[:2]] for node in layers}
    with_weights = [node for node in layers if is_int8[node.name] == [True, True]]
    assert len(with_weights) == 3  # the convolution, queries with keys and values, the projection
    others = [node for node in layers if node not in with_weights]
    assert len(others) == 3
    assert not any(any(is_int8[node.name]) for node in others)
    (last,) = (node for node in others if constants.keys() & set(node.input))
    assert graph.output[0].name in last.output
    for node in with_weights:
        weight, scale = (constants[name] for name in made_by[node.input[1]].input[:2])
        assert weight.data_type == onnx.TensorProto.INT8
        assert onnx.numpy_helper.to_array(scale).size in weight.dims
        assert onnx.numpy_helper.to_array(scale).size > 3
    (softmax,) = (node for node in graph.node if node.op_type == 'Softmax')
    assert not is_dequantised(made_by[softmax.input[0]])
    assert not any(node.op_type == 'Relu' for node in graph.node)  # a part of the convolution, whose range begins at 0


def test_outputs_are_nearly_the_same(in_int8, network, images):
    with torch.no_grad():
        expected = network(images).numpy()
    found = run(in_int8, images)
    assert 1e-5 < relative(found, expected) < 0.05
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.7


def test_another_runtime_computes_the_same(in_int8, images):
    openvino = pytest.importorskip('openvino')
    from mmhybrid.utils.openvino_core import openvino_core

    core = openvino_core('this test')
    assert openvino is not None
    compiled = core.compile_model(core.read_model(in_int8), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    found = np.concatenate([compiled({0: image[None].numpy()})[0] for image in images])
    assert relative(found, run(in_int8, images)) < 0.02


def test_ranges_are_those_of_the_images(content, images, network):
    """With ranges of images a tenth as large, the values of real ones are cut off."""
    darker = quantized(content, [image[None].numpy() / 10 for image in images])
    with torch.no_grad():
        expected = network(images).numpy()
    assert relative(run(darker, images), expected) > 0.3


@pytest.mark.parametrize('name', ['onnxruntime', 'openvino'])
def test_backends_run_it(name, network, images):
    pytest.importorskip(name)
    backend = BACKENDS[name]('cpu', 'int8', 1)
    given = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = backend.build(network, given)()
    (found,) = found.copy_outputs_to_cpu() if name == 'onnxruntime' else (found[0],)
    with torch.no_grad():
        expected = network(given).numpy()
    assert 1e-5 < relative(np.asarray(found), expected) < 0.1
    assert backend.export(network, given, torch.int8) == backend.export(network, given, torch.int8)


@pytest.mark.parametrize('name', ['eager', 'compile', 'executorch'])
def test_what_has_no_int8(name):
    with pytest.raises(ValueError, match=r"dtype: got 'int8', allowed: one of .'float32'"):
        Device.here('cpu', name, 'int8', 1, 1)
    with pytest.raises(ValueError, match=r"dtype: got 'int8', allowed: one of .'float32', 'float16'"):
        Backend('cpu', 'int8', 1)


def test_the_dtype_of_a_device():
    assert Device.here('cpu', 'onnxruntime', 'int8', 1, 1).dtype == 'int8'
    assert isinstance(Device.here('cpu', 'onnxruntime', 'int8', 1, 1).open(), OnnxRuntimeBackend)


def test_what_may_be_quantised_further(content, images):
    """Products of activations and outputs of linear layers, for the comparison: each adds to what is quantised."""
    batches = [image[None].numpy() for image in images]
    counts = {}
    for name, options in (
        ('usual', {}),
        ('with products', {'kept': ('last',)}),
        ('with outputs', {'linear_outputs': True}),
        ('all', {'kept': (), 'linear_outputs': True}),
    ):
        graph = onnx.load_from_string(quantized(content, batches, **options)).graph
        counts[name] = sum(node.op_type == 'QuantizeLinear' for node in graph.node)
    assert counts['usual'] < counts['with products'] < counts['all']
    assert counts['usual'] < counts['with outputs'] < counts['all']


@pytest.mark.parametrize('name', ['onnxruntime', 'openvino'])
def test_taken_apart(name, network):
    """Kinds of operators are told apart in eager torch, which has no int8; the rest is in int8."""
    pytest.importorskip(name)
    table = SimpleNamespace(device=Device.here('cpu', name, 'int8', 1, 1))
    (found,), (by_runtime,) = (each.values() for each in take_apart({'tokens': (network, (16, 16))}, table))
    assert found['measured'] > 0
    assert found['attention'] > 0
    assert sum(by_runtime.values()) > 0
    if name == 'onnxruntime':
        assert 'QLinearConv' in by_runtime
    assert next(network.parameters()).dtype == torch.float32


def test_parts_alone():
    """So are parts timed one by one, which a report compares a table with."""
    table = SimpleNamespace(device=Device.here('cpu', 'onnxruntime', 'int8', 1, 1))
    (found,) = parts_alone(TINY, table, [TINY.space.smallest()], Plan(repeats=2, warmup=0))
    assert found > 0


def test_the_last_layers_of_a_dense_model():
    """They are those that no layer depends on, whatever else comes behind them."""

    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.residual, self.scores, self.boxes = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))

        def forward(self, x):
            x = self.stem(x)
            x = x + self.residual(x)
            scores = nn.functional.interpolate(self.scores(x), scale_factor=2.0).sigmoid()
            return scores.amax(1), self.boxes(x).exp().flatten(1)

    file = io.BytesIO()
    torch.onnx.export(Dense().eval(), (torch.rand(1, 3, 8, 8),), dynamo=True, verbose=False).save(file)
    graph = onnx.load_from_string(file.getvalue()).graph
    groups = groups_of(graph)
    weights = {node.name: node.input[1] for node in graph.node if node.op_type == 'Conv'}
    assert sorted(weights[name] for name in groups['last']) == ['boxes.weight', 'scores.weight']
    assert [weights[name] for name in groups['first']] == ['stem.weight']
    assert groups['products'] == groups['depthwise'] == []
