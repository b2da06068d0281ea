"""What a teacher gives for images, on disk, found again by what the images show.

A folder with ``kept.json``, which says what the outputs depend on beside the images, and for each :data:`ROWS` images
or fewer ``outputs-00000.npy``, of float32, and ``digests-00000.npy``: 16 bytes for each image as the teacher gets it,
behind all augmentation. An output is looked up by them, whatever the order of the images; for an image that has
changed, or that another augmentation has made, none is found. The digests of a file are written behind its outputs, and
removed before those are replaced.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmhybrid.utils.checks import bad_value, check_all, check_choice, check_class, check_int, check_keys
from mmhybrid.utils.files import drop_link_outward, first_difference, read_json, write_json, write_whole

PLAN = 'kept.json'
FORMAT = 1
KINDS = ('logits', 'pooled', 'maps')
ROWS = 1024  # of a file, so that what a killed process has lost is little
FILE_MB = 64  # and no more than this of outputs
DIGEST = 16  # bytes
# How far from a whole number pixels are that were normalised and are to be had back.
ROUNDING = 1e-2


@dataclass(frozen=True)
class KeptPlan:
    """What outputs depend on beside the images, and how many there are.

    Args:
        kind: One of :data:`KINDS`.
        teacher: See :meth:`mmhybrid.models.teachers.Teacher.record`.
        student: The normalisation of its images, of which the teacher gets pixels with these roundings.
        shape: Of one output.
        rows: How many there are.
    """

    kind: str
    teacher: dict[str, Any]
    student: dict[str, Any]
    shape: list[int]
    rows: int

    @classmethod
    def read(cls, folder: Path) -> 'KeptPlan':
        """The plan of a folder; ValueError if it has none, or not one of this format."""
        path = folder / PLAN
        data = read_json(path)
        check_keys(str(path), data, ['format', *(field.name for field in fields(cls))])
        check_choice(f'{path}: format', data.pop('format'), (FORMAT,))
        check_choice(f'{path}: kind', data['kind'], KINDS)
        check_int(f'{path}: rows', data['rows'], 1)
        for name in ('teacher', 'student'):
            check_class(f'{path}: {name}', data[name], dict)
        for side in check_all(f'{path}: shape', data['shape'], int):
            check_int(f'{path}: shape', side, 1)
        return cls(**data)

    def write(self, folder: Path) -> None:
        """Make the folder with the plan, or hold it against the one that is there.

        Raises:
            ValueError: If that is another one.
        """
        if (folder / PLAN).exists():
            self.check_is(KeptPlan.read(folder), folder)
            return
        if folder.exists() and not folder.is_dir():
            raise bad_value('teacher.kept', str(folder), 'a folder, there or not yet')
        folder.mkdir(parents=True, exist_ok=True)
        drop_link_outward(folder / PLAN)
        write_json(folder / PLAN, {'format': FORMAT, **asdict(self)})

    def check_is(self, there: 'KeptPlan', folder: Path) -> None:
        """Raise ValueError if the plan of a folder is not this one."""
        difference = first_difference(asdict(there), asdict(self))
        if difference:
            raise ValueError(f'{folder}: outputs of another teacher, model or data set: {difference}')

    @property
    def rows_per_file(self) -> int:
        """Outputs in a file, the last of which may have fewer."""
        return max(1, min(ROWS, FILE_MB * 2**20 // (4 * math.prod(self.shape))))

    @property
    def num_files(self) -> int:
        """How many files there are of each kind."""
        return -(-self.rows // self.rows_per_file)

    def file(self, folder: Path, number: int) -> 'KeptFile':
        """One of the files."""
        return KeptFile(folder, number, len(self.rows_of(number)), self.shape)

    def rows_of(self, number: int) -> range:
        """The rows of a file."""
        start = number * self.rows_per_file
        return range(start, min(start + self.rows_per_file, self.rows))


class KeptFile:
    """The outputs of some images, and their digests.

    Args:
        folder: Of the plan.
        number: Of the file.
        rows: How many images it is of.
        shape: Of an output.
    """

    def __init__(self, folder: Path, number: int, rows: int, shape: Sequence[int]) -> None:
        self._outputs = folder / f'outputs-{number:05}.npy'
        self._digests = folder / f'digests-{number:05}.npy'
        self._rows = rows
        self._shape = tuple(shape)

    def is_there(self) -> bool:
        """Whether it was written to its end."""
        return self._digests.exists()

    def digests(self) -> np.ndarray:
        """(rows, 16) bytes; ValueError as :meth:`outputs`."""
        return np.array(_mapped(self._digests, np.dtype('u1'), (self._rows, DIGEST)))

    def outputs(self) -> np.ndarray:
        """(rows, *shape), mapped into memory; ValueError if the file is none, or not of this kind and size."""
        return _mapped(self._outputs, np.dtype('<f4'), (self._rows, *self._shape))

    def write(self, digests: np.ndarray, outputs: np.ndarray) -> None:
        """Write both, whole or not at all."""
        self._digests.unlink(missing_ok=True)
        for path, array in ((self._outputs, outputs.astype('<f4', copy=False)), (self._digests, digests)):
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            drop_link_outward(path)
            write_whole(path, content.getvalue())


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f'{path} {"is no file" if path.exists() else "does not exist"}')
    try:
        array: np.ndarray = np.lib.format.open_memmap(path, mode='r')
    except (ValueError, OSError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f'{path}: no array of NumPy, or one that was cut off') from error
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(f'{path}: an array of {array.dtype} {array.shape}, allowed: {dtype} {shape}')
    return array


def digests_of(pixels: Tensor, field: str) -> np.ndarray:
    """A digest of each image.

    Args:
        pixels: (B, C, H, W), whole numbers from 0 to 255 but for roundings.
        field: What asks, for the message.

    Returns:
        (B, 16), bytes.

    Raises:
        ValueError: If they are others.
    """
    whole = pixels.round()
    if bool(((pixels - whole).abs() > ROUNDING).any()) or bool((whole < 0).any()) or bool((whole > 255).any()):
        allowed = 'None for images that are mixed, or that their pipeline normalises: pixels are not 0 to 255'
        raise bad_value(f'{field}', 'kept outputs', allowed)
    images = whole.to(torch.uint8).cpu().contiguous().numpy()
    header = repr(images.shape[1:]).encode()
    found = [hashlib.blake2b(header + image.tobytes(), digest_size=DIGEST).digest() for image in images]
    return np.frombuffer(b''.join(found), np.uint8).reshape(len(images), DIGEST)


class KeptOutputs:
    """The outputs in a folder, of which no more is in memory than is used.

    Args:
        folder: Where they are.
        kind: What they have to be, as the two that follow, see :class:`KeptPlan`.
        teacher: See there.
        student: See there.
        width: Of an output, which for ``maps`` has two more sizes.

    Raises:
        ValueError: If they are others, are not all there, or a file is broken.
    """

    def __init__(self, folder: Path, kind: str, teacher: dict[str, Any], student: dict[str, Any], width: int) -> None:
        self.folder = folder
        if not (folder / PLAN).exists():
            raise bad_value('teacher.kept', str(folder), f'a folder of `mmhybrid keep-teacher`, with {PLAN}')
        there = KeptPlan.read(folder)
        wanted = [width, *there.shape[1:3]] if kind == 'maps' else [width]
        KeptPlan(kind, teacher, student, wanted, there.rows).check_is(there, folder)
        finished = len(list(folder.glob('digests-*.npy')))
        if finished != there.num_files:
            allowed = f'{there.num_files}; `mmhybrid keep-teacher CONFIG` writes what is missing'
            raise bad_value(f'{folder}: number of files that are finished', finished, allowed)
        files = [there.file(folder, number) for number in range(there.num_files)]
        self._rows_per_file = there.rows_per_file
        digests = np.concatenate([one.digests() for one in files]).view('<u8')
        self._order = np.argsort(digests[:, 0], kind='stable')
        self._sorted = digests[self._order]
        self._outputs = [one.outputs() for one in files]

    def of(self, digests: np.ndarray, names: Sequence[str]) -> Tensor:
        """Outputs (B, *shape) for digests of images.

        Args:
            digests: See :func:`digests_of`.
            names: Of the images, for the message.

        Raises:
            ValueError: If there is none for an image.
        """
        found = [self._row(digest, name) for digest, name in zip(digests.view('<u8'), names, strict=True)]
        outputs = [self._outputs[row // self._rows_per_file][row % self._rows_per_file] for row in found]
        return torch.from_numpy(np.stack(outputs))

    def _row(self, digest: np.ndarray, name: str) -> int:
        place = int(np.searchsorted(self._sorted[:, 0], digest[0]))
        while place < len(self._sorted) and self._sorted[place, 0] == digest[0]:
            if self._sorted[place, 1] == digest[1]:
                return int(self._order[place])
            place += 1
        raise ValueError(
            f'{self.folder}: no outputs for {name} as it is here: the image, its pipeline or the views have changed '
            'since they were kept; `mmhybrid keep-teacher CONFIG` brings them up to date'
        )
