"""The hosts write beside data and in work folders through no link of others, and name images that they cannot read."""

import gzip
import io
import json
import re
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose, LoadAnnotations, LoadImageFromFile
from mmdet.datasets import crowdhuman
from mmengine.config import Config
from mmpretrain.datasets import utils as mmpretrain_files
from mmpretrain.engine.hooks import swav_hook
from PIL import Image
from torch.utils.data import DataLoader

from mmhybrid.apis.configs import drop_links_of_runner
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.utils.files import read_json


def save_queue(path: Path) -> None:
    hook = swav_hook.SwAVHook(batch_size=1)
    hook.queue_path = path
    loss = SimpleNamespace(loss_module=SimpleNamespace(queue=torch.zeros(1)))
    hook.after_train_epoch(SimpleNamespace(model=SimpleNamespace(head=loss), epoch=0))


def gzipped(path: Path) -> Path:
    path.write_bytes(gzip.compress(b'labels'))
    return path


def packed(path: Path, name: str) -> Path:
    with tarfile.open(path, 'w') as archive:
        archive.addfile(tarfile.TarInfo(name))
    return path


def unpack(folder: Path, archive: Path) -> None:
    mmpretrain_files.extract_archive(str(archive), str(folder), False)


WRITERS: dict[str, Callable[[Path], object]] = {
    'queue.pth': lambda folder: save_queue(folder / 'queue.pth'),
    'labels': lambda folder: unpack(folder, gzipped(folder / 'labels.gz')),
    'batch': lambda folder: unpack(folder, packed(folder / 'a.tar', 'batch')),
}


@pytest.mark.parametrize('name', WRITERS)
def test_hosts_write_through_no_link(name: str, tmp_path: Path) -> None:
    (tmp_path / 'outside').write_text('as it was')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / name).symlink_to('../outside')
    WRITERS[name](tmp_path / 'folder')
    assert (tmp_path / 'outside').read_text() == 'as it was'
    assert not (tmp_path / 'folder' / name).is_symlink()


def test_an_archive_is_unpacked_into_its_folder(tmp_path: Path) -> None:
    (tmp_path / 'folder').mkdir()
    archive = packed(tmp_path / 'folder/a.tar', 'cifar/train/batch')
    unpack(tmp_path / 'folder', archive)
    unpack(tmp_path / 'folder', archive)
    assert {path.name for path in (tmp_path / 'folder').rglob('*')} == {'a.tar', 'cifar', 'train', 'batch'}
    shutil.move(tmp_path / 'folder/cifar/train', tmp_path / 'outside')
    (tmp_path / 'outside/batch').unlink()
    (tmp_path / 'folder/cifar/train').symlink_to(tmp_path / 'outside')
    with pytest.raises(ValueError, match=r'cifar/train: a link to .*outside, out of'):
        unpack(tmp_path / 'folder', archive)
    assert not list((tmp_path / 'outside').iterdir())


def test_crowdhuman_writes_sizes_in_its_folder_alone(tmp_path: Path) -> None:
    """A link to a file that is not there yet is none to MMDetection; names of images are the file's."""
    (tmp_path / 'data').mkdir()
    box = [1, 1, 5, 5]
    person = {'tag': 'person', 'fbox': box, 'hbox': box, 'vbox': box, 'extra': {}}
    (tmp_path / 'data/train.odgt').write_text(json.dumps({'ID': '$(touch trace)', 'gtboxes': [person]}))
    cv2.imwrite(str(tmp_path / 'data/$(touch trace).jpg'), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'data/id_hw_train.json').symlink_to(tmp_path / '.bash_aliases')
    for _ in range(2):  # the second reads what the first wrote
        crowdhuman.CrowdHumanDataset(str(tmp_path / 'data'), 'train.odgt', data_prefix={'img': ''})
    assert not (tmp_path / '.bash_aliases').exists()
    assert read_json(tmp_path / 'data/id_hw_train.json') == {'$(touch trace)': [8, 8]}


def test_logs_of_a_runner_stay_in_its_folder(tmp_path: Path) -> None:
    """They go into a folder that is named by the time."""
    soon, later, before = ((time.time() + seconds) for seconds in (5, 1000, -1000))
    soon, later, before = (time.strftime('%Y%m%d_%H%M%S', time.localtime(when)) for when in (soon, later, before))
    folder = tmp_path / 'work'
    for name in (soon, before):
        (folder / name / 'vis_data').mkdir(parents=True)
        (folder / name / f'{name}.log').symlink_to(tmp_path / 'outside')
        (folder / name / 'vis_data/config.py').symlink_to(tmp_path / 'outside')
    (folder / later).symlink_to(tmp_path)
    drop_links_of_runner(Config({'work_dir': str(folder)}))
    left = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_symlink()}
    assert left == {f'{before}/{before}.log', f'{before}/vis_data/config.py'}


def portable(side: int) -> bytes:
    return f'P6\n{side} {side}\n255\n'.encode()


def graphics(side: int) -> bytes:
    file = io.BytesIO()
    Image.new('L', (8, 8)).save(file, 'gif')
    content = bytearray(file.getvalue())
    content[6:10] = side.to_bytes(2, 'little') * 2
    return bytes(content)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('content', [portable(60_000), graphics(60_000)], ids=['ppm', 'gif'])
def test_an_image_of_a_data_set_that_is_too_large_is_named(tmp_path: Path, content: bytes, backend: str) -> None:
    (tmp_path / 'a.png').write_bytes(content)
    where = {'img_path': f'{tmp_path}/b.png', 'seg_map_path': f'{tmp_path}/a.png'}
    for load, told in (
        (LoadImageFromFile(imdecode_backend=backend), {'img_path': f'{tmp_path}/a.png'}),
        (LoadAnnotations(with_bbox=False, with_label=False, with_seg=True, imdecode_backend=backend), where),
    ):
        with pytest.raises(ValueError, match=r'image: got .*/a\.png., allowed: at most 134217728 pixels'):
            load(told)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_program_says_which_image_it_cannot_read(
    tmp_path: Path, num_workers: int, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'a.ppm').write_bytes(portable(60_000))
    images = Compose([LoadImageFromFile()])
    loader = DataLoader(
        [images], num_workers=num_workers, collate_fn=lambda each: each[0]({'img_path': f'{tmp_path}/a.ppm'})
    )

    def read() -> None:
        with ending_on_mistakes() as phase:
            phase.at_work = True
            next(iter(loader))

    with pytest.raises(SystemExit):
        read()
    assert re.fullmatch(r"image: got '.*/a\.ppm', allowed: at most \d+ pixels\n", capsys.readouterr().err)


def test_a_damaged_image_of_a_data_set_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(portable(8))
    with pytest.raises(OSError, match=r'image .*/a\.png cannot be read: .*truncated'):
        LoadImageFromFile(imdecode_backend='pillow')({'img_path': f'{tmp_path}/a.png'})
    with pytest.raises(AssertionError, match=r'failed to load image: .*/a\.png'):
        LoadImageFromFile()({'img_path': f'{tmp_path}/a.png'})
    with pytest.raises(FileNotFoundError, match=r'b\.png'):
        LoadImageFromFile()({'img_path': f'{tmp_path}/b.png'})
