"""Exported files and photographs of others run nothing, read no memory, and end in a sentence."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmhybrid.apis import runtime_process
from mmhybrid.apis.export import export_model
from mmhybrid.apis.runtimes import open_network
from mmhybrid.apis.scoring import _run_batch, check_fits, put_into
from mmhybrid.commands import run_onnx
from mmhybrid.torch_api import EXPORTING
from mmhybrid.utils.errors import CannotGoOnError

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
BOXES: dict[str, np.ndarray] = {
    'boxes': np.array([[1, 1, 5, 5]], np.float32),
    'scores': np.array([0.9], np.float32),
    'labels': np.array([0]),
}
ESCAPE = '\x1b[2J'
HOLDERS_OF_TENSORS = {
    f'{name}Proto' for name in ('Graph', 'TrainingInfo', 'Function', 'Node', 'Attribute', 'Tensor', 'SparseTensor')
}
FLOAT = onnx.TensorProto.FLOAT


def written(path: Path, graph: Any, **told: str) -> Path:
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=8)
    onnx.helper.set_model_props(model, told)
    path.write_bytes(model.SerializeToString())
    return path


def end_to_end(path: Path, classes: str, arrays: dict[str, np.ndarray]) -> Path:
    """A network that finds the same in each photograph."""
    helper = onnx.helper
    image = helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, ['h', 'w', 3])
    values = {name: onnx.numpy_helper.from_array(array) for name, array in arrays.items()}
    nodes = [helper.make_node('Constant', [], [name], value=value) for name, value in values.items()]
    outputs = [helper.make_tensor_value_info(name, value.data_type, value.dims) for name, value in values.items()]
    return written(path, helper.make_graph(nodes, 'graph', [image], outputs), classes=classes)


def adding(path: Path, location: str, offset: int, is_nested: bool) -> Path:
    """A network that adds what a tensor holds, whose values are elsewhere."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    tensor = onnx.TensorProto(name='w', data_type=kind, dims=[16], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {'location': location, 'offset': offset, 'length': 64}.items():
        tensor.external_data.add(key=key, value=str(value))
    images, found = (helper.make_tensor_value_info(name, kind, [1, 16]) for name in ('images', 'found'))
    nodes = [helper.make_node('Add', ['images', 'w'], ['found'])]
    if is_nested:
        nodes.insert(0, helper.make_node('Constant', [], ['w'], value=tensor))
    return written(path, helper.make_graph(nodes, 'g', [images], [found], [] if is_nested else [tensor]))


@pytest.mark.parametrize('is_nested', [False, True])
@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_no_file_reads_the_memory_of_its_process(tmp_path: Path, runtime: str, is_nested: bool) -> None:
    """Between libraries, an address stands for a file of values; OpenVINO takes it from files too."""
    pytest.importorskip(runtime)
    secret = np.arange(16, dtype=np.float32)
    file = adding(tmp_path / 'a.onnx', '*/_ORT_MEM_ADDR_/*', secret.ctypes.data, is_nested)
    with pytest.raises(ValueError, match="a tensor: got 'w', allowed: values in the file itself"):
        open_network(file, runtime)


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_no_file_reads_another_file(tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime)
    np.arange(16, dtype=np.float32).tofile(tmp_path / 'secret')
    with pytest.raises(ValueError, match="a tensor: got 'w', allowed: values in the file itself"):
        open_network(adding(tmp_path / 'a.onnx', 'secret', 0, False), runtime)


PORT = '<port id="0" precision="FP32" names="images"><dim>1</dim><dim>3</dim></port>'
LAYERS = (
    '<layers><layer id="0" name="images" type="Parameter" version="opset1"><data shape="1,3" element_type="f32"/>'
    f'<output>{PORT}</output></layer>'
    f'<layer id="1" name="out" type="Result" version="opset1"><input>{PORT}</input></layer>'
    '</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges>'
)


def openvino_file(path: Path, told: str, declared: str = '') -> Path:
    content = f'<net name="a" version="11">{LAYERS}<rt_info>{told}</rt_info></net>'
    path.write_text(f'<?xml version="1.0"?>{declared}{content}')
    path.with_suffix('.bin').write_bytes(b'')
    return path


def test_files_of_openvino(tmp_path: Path) -> None:
    """What is deep ends the process, where it recurses."""
    pytest.importorskip('openvino')
    path = tmp_path / 'a.xml'
    sound = openvino_file(path, '<mmhybrid><origin value="mmhybrid"/></mmhybrid>')
    assert open_network(sound, 'openvino').metadata == {'origin': 'mmhybrid'}
    with pytest.raises(ValueError, match=r'rt_info: mmhybrid: got .5., allowed: names and values'):
        open_network(openvino_file(path, '<mmhybrid value="5"/>'), 'openvino')
    deep = '<mmhybrid>' + 1000 * '<a>' + '<b value="1"/>' + 1000 * '</a>' + '</mmhybrid>'
    with pytest.raises(ValueError, match='depth of elements: got 101, allowed: at most 100'):
        open_network(openvino_file(path, deep), 'openvino')
    with pytest.raises(ValueError, match='it declares a document type'):
        open_network(openvino_file(path, '', '<!DOCTYPE net [<!ENTITY a "b">]>'), 'openvino')


def test_no_file_of_openvino_is_onnx_by_another_name(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    secret = np.arange(16, dtype=np.float32)
    file = adding(tmp_path / 'a.xml', '*/_ORT_MEM_ADDR_/*', secret.ctypes.data, False)
    with pytest.raises(ValueError, match=r'a\.xml cannot be read: not well-formed'):
        open_network(file, 'openvino')


def endless(path: Path, given: str, kind: int, shape: list[Any]) -> Path:
    """A network whose loop goes on for as long as the largest number of its input is equal to itself."""
    helper, tensors = onnx.helper, onnx.TensorProto

    def infos(**kinds: int) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, []) for name, kind in kinds.items()]

    same = [helper.make_node('Identity', [old], [new]) for old, new in (('c', 'again'), ('x', 'y'))]
    before, after = infos(i=tensors.INT64, c=tensors.BOOL, x=FLOAT), infos(again=tensors.BOOL, y=FLOAT)
    nodes = [
        helper.make_node('Cast', [given], ['numbers'], to=FLOAT),
        helper.make_node('ReduceMax', ['numbers'], ['largest'], keepdims=0),
        helper.make_node('Equal', ['largest', 'largest'], ['is']),
        helper.make_node('Loop', ['', 'is', 'largest'], ['found'], body=helper.make_graph(same, 'body', before, after)),
    ]
    images = helper.make_tensor_value_info(given, kind, shape)
    return written(path, helper.make_graph(nodes, 'g', [images], infos(found=FLOAT)))


def large(path: Path) -> Path:
    """A network that fills a tensor of the sizes that its input says."""
    helper = onnx.helper
    nodes = [
        helper.make_node('Cast', ['images'], ['shape'], to=onnx.TensorProto.INT64),
        helper.make_node('ConstantOfShape', ['shape'], ['found']),
    ]
    shapes: dict[str, list[Any]] = {'images': [3], 'found': ['a', 'b', 'c']}
    images, found = (helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items())
    return written(path, helper.make_graph(nodes, 'g', [images], [found]))


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_a_network_without_end_is_given_up(tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime)
    network = open_network(endless(tmp_path / 'a.onnx', 'images', FLOAT, [1, 16]), runtime)
    network.seconds = 2
    images = np.ones((1, 16), np.float32)
    with pytest.raises(CannotGoOnError, match=r'a\.onnx: no answer within 2 s; .* --timeout'):
        network.run(images)
    with pytest.raises(CannotGoOnError, match='its process has ended'):
        network.run(images)


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_no_network_takes_more_memory_than_there_is(tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime)
    network = open_network(large(tmp_path / 'a.onnx'), runtime)
    assert network.run(np.full(3, 2, np.float32))['found'].shape == (2, 2, 2)
    with pytest.raises(CannotGoOnError, match=r'a\.onnx: .+'):
        network.run(np.full(3, 2**14, np.float32))


def test_a_network_that_ends_its_process_ends_no_other(tmp_path: Path) -> None:
    """As damaged files of ExecuTorch do."""
    network = open_network(large(tmp_path / 'a.onnx'), 'onnxruntime')
    assert network._process is not None
    os.kill(network._process.pid, signal.SIGSEGV)
    with pytest.raises(CannotGoOnError, match=r'a\.onnx: the runtime was ended by SIGSEGV; the file is damaged'):
        network.run(np.ones(3, np.float32))


PROGRAM = """
import os, sys, threading, time, numpy
from mmhybrid.apis.export import export_model
from mmhybrid.apis.runtimes import open_network
network = open_network(sys.argv[1], 'onnxruntime')
print(network._process.pid, flush=True)
threading.Thread(target=network.run, args=[numpy.ones((1, 16), 'f4')]).start()
time.sleep(1)
os.kill(os.getpid(), 9)
"""


def test_a_network_ends_with_its_program(tmp_path: Path) -> None:
    """One that is killed too, which cannot end it."""
    file = endless(tmp_path / 'a.onnx', 'images', FLOAT, [1, 16])
    ended = subprocess.run([sys.executable, '-c', PROGRAM, file], capture_output=True, text=True)
    assert ended.stdout.strip().isdigit(), ended.stderr
    process, until = Path('/proc', ended.stdout.strip(), 'cmdline'), time.monotonic() + 30
    while process.exists() and process.read_bytes() and time.monotonic() < until:
        time.sleep(0.1)
    assert not process.exists() or not process.read_bytes()


def test_no_damaged_file_of_executorch_ends_the_process(tmp_path: Path) -> None:
    pytest.importorskip('executorch')
    path = tmp_path / 'a.pte'
    export_model(torch.nn.Linear(4, 2), (1, 1, 1, 4), path, 'executorch')
    content = path.read_bytes()
    *_, name = re.finditer(rb'[0-9a-f]{64}', content)  # of a weight; one that is not there ends the runtime's process
    path.write_bytes(content[: name.start()] + b'\xff' * 8 + content[name.start() + 8 :])
    with pytest.raises((ValueError, CannotGoOnError), match='the runtime was ended by SIGABRT'):
        open_network(path, 'executorch').run(np.ones((1, 1, 1, 4), np.float32))


@pytest.mark.torch_since(*EXPORTING)
def test_no_file_of_openvino_reads_another_as_its_weights(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    folder = tmp_path / 'folder'
    folder.mkdir()
    export_model(torch.nn.Linear(4, 2), (1, 1, 1, 4), folder / 'a.xml', 'openvino')
    (folder / 'a.bin').rename(folder / 'b.bin')
    (folder / 'a.bin').symlink_to('b.bin')
    open_network(folder / 'a.xml', 'openvino').close()
    (folder / 'b.bin').rename(tmp_path / 'secret')
    (folder / 'a.bin').unlink()
    (folder / 'a.bin').symlink_to('../secret')
    with pytest.raises(ValueError, match=r'a\.bin: a link to another folder'):
        open_network(folder / 'a.xml', 'openvino')


def test_the_format_of_a_file_is_what_its_name_says(tmp_path: Path) -> None:
    """What a link leads to has another ending, by which runtimes choose."""
    pytest.importorskip('openvino')
    (tmp_path / 'folder').mkdir()
    xml = openvino_file(tmp_path / 'folder/a.xml', '')
    xml.with_suffix('.bin').unlink()
    (tmp_path / 'secret').write_bytes(bytes(64))
    xml.with_suffix('.bin').symlink_to('../secret')
    (tmp_path / 'a.onnx').symlink_to(xml)
    with pytest.raises(ValueError, match=r'a\.onnx cannot be read: Error parsing message'):
        open_network(tmp_path / 'a.onnx', 'openvino')
    (tmp_path / 'a.xml').symlink_to(xml)
    with pytest.raises(ValueError, match=r'a\.bin: a link to another folder'):
        open_network(tmp_path / 'a.xml', 'openvino')
    (tmp_path / 'a.json').write_text('{"irVersion": "8", "graph": {"name": "g"}}')
    (tmp_path / 'a.onnx').unlink()
    (tmp_path / 'a.onnx').symlink_to('a.json')
    with pytest.raises(ValueError, match=r'a\.onnx cannot be read: Error parsing message'):
        open_network(tmp_path / 'a.onnx', 'openvino')


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_what_was_checked_is_what_runs(tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns the folder may exchange a file between the check and the runtime."""
    pytest.importorskip(runtime)
    infos = [onnx.helper.make_tensor_value_info(name, FLOAT, [2]) for name in ('images', 'found')]
    node = onnx.helper.make_node('Add', ['images', 'w'], ['found'])
    checked, other = (
        written(
            tmp_path / f'{value}.onnx',
            onnx.helper.make_graph(
                [node], 'g', infos[:1], infos[1:], [onnx.helper.make_tensor('w', FLOAT, [], [value])]
            ),
            classes=f'{value}',
        )
        for value in (1, 2)
    )
    check = runtime_process.metadata_of_onnx

    def exchange(file: Any) -> dict[str, str]:
        told = check(file)
        os.replace(other, checked)
        return told

    monkeypatch.setattr(runtime_process, 'metadata_of_onnx', exchange)
    _, told, run = runtime_process.RUNTIMES[runtime](str(checked))
    assert told == {'classes': '1'}
    np.testing.assert_equal(run(np.zeros(2, np.float32))['found'], [1, 1])


def test_photographs_are_shown_no_other_file(tmp_path: Path) -> None:
    """ONNX Runtime refuses some of them by itself, of late; on a device there may be any."""
    (tmp_path / 'secret').write_bytes(bytes(64))
    for is_nested in (False, True):
        for location in ('secret', '../secret', f'{tmp_path}/secret', '*/_ORT_MEM_ADDR_/*'):
            file = adding(tmp_path / 'a.onnx', location, 0, is_nested)
            with pytest.raises(ValueError, match=r'a\.onnx: its values are in another file'):
                run_onnx.check_values(str(file), file.read_bytes())


def test_where_onnx_may_keep_tensors() -> None:
    """Wherever its messages hold one, by ONNX's own description of them."""
    names = {'sparse tensor': 'SparseTensor', 'training': 'TrainingInfo'}
    left, seen = [('model', onnx.ModelProto.DESCRIPTOR)], set()
    while left:
        kind, described = left.pop()
        assert described.name == f'{names.get(kind, kind.title())}Proto'
        seen.add(kind)
        if kind == 'tensor':
            assert described.fields_by_name['external_data'].number == run_onnx.EXTERNAL_DATA
            continue
        found = {field.number: field.message_type for field in described.fields if field.message_type is not None}
        held = {number: message for number, message in found.items() if message.name in HOLDERS_OF_TENSORS}
        assert held.keys() == run_onnx.HOLDERS[kind].keys()
        left += [(name, held[number]) for number, name in run_onnx.HOLDERS[kind].items() if name not in seen]
    assert seen == {'tensor', *run_onnx.HOLDERS}


@pytest.mark.parametrize(
    'content', [b'\x3a', b'\x3a\x05ab', b'\x3b', b'\xff' * 20, b'aaaaORTM', b'\x3a\xff\xff\xff\xff\x0f']
)
def test_what_is_no_onnx_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(ValueError, match=r'a\.onnx is not an ONNX file, or is damaged'):
        run_onnx.check_values('a.onnx', content)


def empty_nodes(path: Path, count: int) -> Path:
    """A graph of nodes that are nothing, of two bytes each."""
    graph, length = b'\x0a\x00' * count, b''
    size = len(graph)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    path.write_bytes(b'\x08\x08\x3a' + length + bytes([size]) + graph)
    return path


def test_nodes_take_no_memory_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times what the file is long; its own process may take it."""
    file = empty_nodes(tmp_path / 'a.onnx', 10**6)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError('read in this process')

    monkeypatch.setattr(onnx, 'load', refuse)
    for runtime in ('onnxruntime', 'openvino'):
        if runtime == 'openvino' and find_spec(runtime) is None:
            continue
        with pytest.raises(ValueError, match=r'a\.onnx cannot be read: ') as caught:
            open_network(file, runtime, seconds=120)
        assert 'this process' not in str(caught.value)


def test_a_file_on_a_device_has_as_many_nodes_as_networks_have(tmp_path: Path) -> None:
    file = empty_nodes(tmp_path / 'a.onnx', 2**20 + 1)
    with pytest.raises(ValueError, match=r'a\.onnx: more than 1048576 nodes, attributes and tensors'):
        run_onnx.check_values(str(file), file.read_bytes())


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new('RGB', (16, 16)).save(tmp_path / 'photo.png')
    return tmp_path / 'photo.png'


def shown(file: Path, photo: Path) -> None:
    run_onnx.main([str(file), str(photo), '--out', str(file.with_suffix('.png'))])


def test_a_photograph_is_no_program(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS, whatever the file is called, to Ghostscript."""
    (tmp_path / 'gs').write_text(f'#!/bin/sh\n: > {tmp_path}/trace\n')
    (tmp_path / 'gs').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    photo.write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n')
    program = 'import sys; from mmhybrid.commands.run_onnx import main; main(sys.argv[1:])'
    words = [end_to_end(tmp_path / 'a.onnx', '["a"]', BOXES), photo, '--out', tmp_path / 'out.png']
    ended = subprocess.run([sys.executable, '-c', program, *words], capture_output=True, text=True)  # Pillow asks once
    assert not (tmp_path / 'trace').exists()
    assert 'run-onnx: cannot identify image file' in ended.stderr


def test_photographs_that_are_none(tmp_path: Path, photo: Path) -> None:
    file = end_to_end(tmp_path / 'a.onnx', '["a"]', BOXES)
    shown(file, photo)
    Image.new('1', (30_000, 30_000)).save(photo)
    with pytest.raises(SystemExit, match='decompression bomb'):
        shown(file, photo)
    os.mkfifo(tmp_path / 'pipe')
    for pair in ((file, tmp_path / 'pipe'), (tmp_path / 'pipe', photo)):
        with pytest.raises(SystemExit, match=r'pipe is not a file|decompression bomb'):
            shown(*pair)


@pytest.mark.parametrize('classes', ['5', 'null', '{"a": 1}', '"abc"', '[["a"]]', '[' * 100_000])
def test_classes_are_names(tmp_path: Path, photo: Path, classes: str) -> None:
    with pytest.raises(SystemExit, match=r'run-onnx: classes: got .*, allowed: a list of names'):
        shown(end_to_end(tmp_path / 'a.onnx', classes, BOXES), photo)


def test_a_terminal_obeys_no_class(tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture) -> None:
    shown(end_to_end(tmp_path / 'a.onnx', '["\\u001b[2J%s"]' % ('a' * 10**6), BOXES), photo)
    told = capsys.readouterr().out
    assert told.strip().isprintable()
    assert told.startswith('\\x1b[2Ja')
    assert len(told) < 200


OUTPUTS: dict[str, dict[str, np.ndarray]] = {
    'names': {'a': BOXES['boxes'], 'b': BOXES['scores'], 'c': BOXES['labels']},
    'infinity': {**BOXES, 'boxes': np.full((1, 4), np.inf, np.float32)},
    'sides': {**BOXES, 'boxes': np.ones((1, 2), np.float32)},
    'counts': {**BOXES, 'labels': np.array([0, 1])},
    'no axes': {'boxes': np.float32(1), 'scores': np.float32(1), 'labels': np.int64(0)},
    'no class': {'segmentation': np.full((16, 16), 999)},
    'numbers': {'segmentation': np.zeros((16, 16), np.float32)},
    'axes': {'segmentation': np.zeros((1, 16, 16, 2), np.int64)},
}


@pytest.mark.parametrize('outputs', OUTPUTS)
def test_what_is_found_is_what_such_files_find(tmp_path: Path, photo: Path, outputs: str) -> None:
    file = end_to_end(tmp_path / 'a.onnx', '["a"]', {name: np.asarray(a) for name, a in OUTPUTS[outputs].items()})
    with pytest.raises(SystemExit, match=r'a\.onnx does not return boxes or a segmentation'):
        shown(file, photo)


def test_what_a_runtime_says_is_not_obeyed(tmp_path: Path, photo: Path, capfd: pytest.CaptureFixture) -> None:
    """It repeats names of the file, in its log too."""
    helper, kinds = onnx.helper, onnx.TensorProto
    image = helper.make_tensor_value_info('image', kinds.UINT8, ['h', 'w', 3])
    boxes = helper.make_tensor_value_info('boxes', kinds.UINT8, None)
    shape = onnx.numpy_helper.from_array(np.array([7]), 'shape')
    node = helper.make_node('Reshape', ['image', 'shape'], ['boxes'], name=ESCAPE)
    file = written(tmp_path / 'a.onnx', helper.make_graph([node], 'g', [image], [boxes], [shape]))
    with pytest.raises(SystemExit) as ended:
        shown(file, photo)
    assert 'Reshape' in str(ended.value)
    assert ESCAPE not in f'{ended.value}{capfd.readouterr()}'
    assert str(ended.value).isprintable()


def test_a_photograph_is_not_looked_at_without_end(tmp_path: Path, photo: Path) -> None:
    file = endless(tmp_path / 'a.onnx', 'image', onnx.TensorProto.UINT8, ['h', 'w', 3])
    with pytest.raises(SystemExit, match=r'a\.onnx: no result within 1 s; --timeout allows more'):
        run_onnx.main([str(file), str(photo), '--out', str(tmp_path / 'a.png'), '--timeout', '1'])


def network_of(**changes: Any) -> Any:
    return SimpleNamespace(**{'path': 'a.onnx', 'input_shape': [None, 3, 8, 8], 'is_end_to_end': False, **changes})


def test_a_file_takes_no_endless_batch() -> None:
    """The last images of the data are repeated until they are as many."""
    for shape, word in (
        ([2**40, 3, 8, 8], r'a\.onnx: images at once: got 1099511627776, allowed: at most'),
        ([1, 3], r'a\.onnx: sizes of its images: got \[1, 3\]'),
    ):
        with pytest.raises(ValueError, match=word):
            _run_batch(network_of(input_shape=shape), torch.zeros(2, 3, 8, 8))
    for found in ([], np.zeros(()), np.zeros((3, 4))):
        with pytest.raises(ValueError, match=r'a\.onnx: out: got .*, allowed: an array for 2 images'):
            _run_batch(network_of(run=lambda _, found=found: {'out': found}), torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize('outputs', ['sides', 'counts', 'no axes', 'names', 'axes'])
def test_what_is_scored_is_what_such_files_find(tmp_path: Path, photo: Path, outputs: str) -> None:
    """A program tells it while it evaluates, too."""
    model, sample = SimpleNamespace(), SimpleNamespace(metainfo={'img_path': str(photo)})
    given = {name: np.asarray(array) for name, array in OUTPUTS[outputs].items()}
    put_into(model, open_network(end_to_end(tmp_path / 'a.onnx', '["a"]', given), 'onnxruntime'))
    with pytest.raises(CannotGoOnError, match=r'a\.onnx: outputs: got .*, allowed: a class of each pixel, or boxes'):
        model.test_step({'data_samples': [sample]})


@pytest.mark.parametrize('value', ['[' * 100_000, '{', '9' * 5000])
def test_what_a_file_says_is_json(value: str) -> None:
    cfg = {'test_dataloader': {'dataset': {'classes': ['a']}}}
    with pytest.raises(ValueError, match=r'a\.onnx: classes: not JSON'):
        check_fits(network_of(metadata={'origin': 'a', 'classes': value}), cfg)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r'a\.onnx: canvas: not JSON'):
        check_fits(network_of(metadata={'origin': 'a', 'canvas': value}, is_end_to_end=True), cfg)  # type: ignore[arg-type]
