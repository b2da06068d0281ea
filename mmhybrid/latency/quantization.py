"""ONNX networks in int8, by ONNX Runtime's static post-training quantisation (QuantizeLinear and DequantizeLinear).

Only layers with weights are quantised: their weights per channel, and their inputs and the outputs of convolutions by
the ranges that calibration images give them. Linear layers return float32, which most operators after them need. All
else stays in float32: the last layers, products of two activations (attention, GLNet's clustering), softmax and norms.
docs/results.md shows accuracy and latency.
"""

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmhybrid.utils.optional import require

# Operators whose second input is a weight. A MatMul of two activations is excluded.
LAYERS = ('Conv', 'Gemm', 'MatMul')
# Operators that become part of the layer before them, whose output range is then theirs (ReLU6: 0 to 6).
BOUNDS = ('Clip', 'Relu')
# Groups of nodes that may stay in float32, see `groups_of`, and those that do by default.
GROUPS = ('products', 'last', 'first', 'depthwise')
KEPT = ('products', 'last')
# The quantiser's own default, which only keeps the minimum and the maximum.
METHOD = 'MinMax'


class _Batches:
    """A CalibrationDataReader of ONNX Runtime: the next batch under the input's name, None after the last."""

    def __init__(self, name: str, batches: Iterable[np.ndarray]) -> None:
        self.name = name
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch."""
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


def groups_of(graph: Any) -> dict[str, list[str]]:
    """Return the names of nodes that may be worth keeping in float32, by group.

    ``products`` are products of two activations, ``last`` are the layers that no other layer follows (logits, maps of
    heads), ``first`` is the first layer, and ``depthwise`` are the grouped convolutions.
    """
    constants = {each.name for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in LAYERS]
    layers = [node for node in nodes if constants & {*node.input}]
    leading: set[str] = set()  # the tensors on which some layer depends
    for node in reversed(graph.node):
        if node.op_type in LAYERS or leading & {*node.output}:
            leading.update(node.input)
    is_grouped = {node.name: any(each.name == 'group' and each.i > 1 for each in node.attribute) for node in layers}
    names = {
        'products': [node.name for node in nodes if not constants & {*node.input}],
        'last': [node.name for node in layers if not leading & {*node.output}],
        'first': [node.name for node in layers[:1]],
        'depthwise': [node.name for node in layers if is_grouped[node.name]],
    }
    assert tuple(names) == GROUPS
    return names


def quantized(
    content: bytes, batches: Iterable[np.ndarray], kept: Collection[str] = KEPT, linear_outputs: bool = False
) -> bytes:
    """Return the content of an ONNX file in int8.

    Args:
        content: Content of a file in float32 with one input; its tensors are in the file itself.
        batches: Batches of images as the file takes them, at least one; their activations give the ranges.
        kept: Groups of :func:`groups_of` that stay in float32.
        linear_outputs: Whether outputs of linear layers and of products are quantised too.
    """
    onnx = require('onnx', 'dtype int8')
    tools = require('onnxruntime.quantization', 'dtype int8')
    shapes = require('onnxruntime.quantization.shape_inference', 'dtype int8')
    with tempfile.TemporaryDirectory() as folder:
        given, prepared, written = (Path(folder, f'{name}.onnx') for name in ('given', 'prepared', 'written'))
        given.write_bytes(content)
        # This folds constants and remaining batch norms. Shapes need no inference, since the exporter wrote all of
        # them.
        shapes.quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        groups = groups_of(graph)
        tools.quantize_static(
            str(prepared),
            str(written),
            _Batches(graph.input[0].name, batches),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=[*LAYERS, *BOUNDS],
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,  # x86 and ARM have instructions for uint8 times int8
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod[METHOD],
            extra_options={'OpTypesToExcludeOutputQuantization': [] if linear_outputs else ['Gemm', 'MatMul']},
            # The quantiser's option for products, MatMulConstBOnly, has no effect in this format.
            nodes_to_exclude=[name for group in kept for name in groups[group]],
        )
        return written.read_bytes()
