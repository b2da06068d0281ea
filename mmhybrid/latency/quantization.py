"""ONNX networks in int8: static quantisation after training, by ONNX Runtime, as QuantizeLinear and DequantizeLinear.

Quantised are the layers with weights: weights channel by channel, their inputs and the outputs of convolutions by the
ranges that calibration images give them. Linear layers give float32, which is what comes behind most of them. All else
stays in float32: the last layers, products of activations with each other (attention, GLNet's clustering), softmax and
norms. What that is worth stands in docs/results.md.
"""

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmhybrid.utils.optional import require

# Operators whose second input is a weight; a MatMul of two activations is none of them.
LAYERS = ('Conv', 'Gemm', 'MatMul')
# Behind a layer they become a part of it, whose outputs then have the range that they leave (ReLU6: 0 to 6).
BOUNDS = ('Clip', 'Relu')
# What may stay in float32 of them, see `groups_of`, and what does unless it is told otherwise.
GROUPS = ('products', 'last', 'first', 'depthwise')
KEPT = ('products', 'last')
# What the quantiser takes itself; it keeps the least and the greatest value alone.
METHOD = 'MinMax'


class _Batches:
    """What ONNX Runtime calls a CalibrationDataReader: the next batch by the input's name, None after the last."""

    def __init__(self, name: str, batches: Iterable[np.ndarray]) -> None:
        self.name = name
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch."""
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


def groups_of(graph: Any) -> dict[str, list[str]]:
    """The names of nodes that may be worth keeping in float32, by group.

    ``products`` are those of two activations, ``last`` are the layers behind which no other comes (logits, maps of
    heads), ``first`` is the first layer, and ``depthwise`` are the grouped convolutions.
    """
    constants = {each.name for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in LAYERS]
    layers = [node for node in nodes if constants & {*node.input}]
    leading: set[str] = set()  # tensors that a layer depends on
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
    """The content of an ONNX file in int8.

    Args:
        content: Of a file in float32, whose tensors are in it, with one input.
        batches: Images as the file takes them, one batch at least; the ranges of activations are those that they have.
        kept: Which of :func:`groups_of` stay in float32.
        linear_outputs: Whether outputs of linear layers, and of products, are quantised too.
    """
    onnx = require('onnx', 'dtype int8')
    tools = require('onnxruntime.quantization', 'dtype int8')
    shapes = require('onnxruntime.quantization.shape_inference', 'dtype int8')
    with tempfile.TemporaryDirectory() as folder:
        given, prepared, written = (Path(folder, f'{name}.onnx') for name in ('given', 'prepared', 'written'))
        given.write_bytes(content)
        # folds constants and remaining batch norms; the exporter has written all shapes
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
            activation_type=tools.QuantType.QUInt8,  # times int8 weights: what x86 and ARM have instructions for
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod[METHOD],
            extra_options={'OpTypesToExcludeOutputQuantization': [] if linear_outputs else ['Gemm', 'MatMul']},
            # its own option for products, MatMulConstBOnly, does nothing in this format
            nodes_to_exclude=[name for group in kept for name in groups[group]],
        )
        return written.read_bytes()
