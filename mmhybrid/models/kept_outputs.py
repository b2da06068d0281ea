"""Outputs of a teacher on disk, which are looked up by digests of the images' pixels.

The file ``kept.json`` of a folder says what the outputs depend on besides the images. For each :data:`ROWS` images or
fewer, there are ``outputs-00000.npy`` in float32 and ``digests-00000.npy``, which has 16 bytes for each image as the
teacher gets it after all augmentations. The order of the images does not matter, and an image that has changed or was
augmented differently has no output. The digests of a file are written after its outputs and removed before the outputs
are replaced, so that a file with digests is complete.
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
ROWS = 1024  # largest number of images in a file, so that a killed process loses little
FILE_MB = 64  # largest size of a file of outputs in MiB, unless a single output is larger
DIGEST = 16  # bytes
# Largest difference from an integer that a pixel may have after normalisation and its inverse.
ROUNDING = 1e-2


@dataclass(frozen=True)
class KeptPlan:
    """The settings on which kept outputs depend besides the images, and the number of images.

    Args:
        kind: Kind of output, one of :data:`KINDS`.
        teacher: Record of the teacher, see :meth:`mmhybrid.models.teachers.Teacher.record`.
        student: Normalisation of the student's images, whose rounding the recovered pixels have.
        shape: Shape of one output.
        rows: Number of images.
    """

    kind: str
    teacher: dict[str, Any]
    student: dict[str, Any]
    shape: list[int]
    rows: int

    @classmethod
    def read(cls, folder: Path) -> 'KeptPlan':
        """Return the plan of a folder; raise a ValueError if there is none, or it has another format."""
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
        """Create the folder with the plan, or check that the existing folder has the same plan.

        Raises:
            ValueError: If the existing plan differs, or the path is not a folder.
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
        """Raise a ValueError if the plan ``there``, of a folder, differs from this one."""
        difference = first_difference(asdict(there), asdict(self))
        if difference:
            raise ValueError(f'{folder}: outputs of another teacher, model or data set: {difference}')

    @property
    def rows_per_file(self) -> int:
        """Number of outputs in each file but the last, which may have fewer."""
        return max(1, min(ROWS, FILE_MB * 2**20 // (4 * math.prod(self.shape))))

    @property
    def num_files(self) -> int:
        """Number of files of outputs, and of files of digests."""
        return -(-self.rows // self.rows_per_file)

    def file(self, folder: Path, number: int) -> 'KeptFile':
        """Return one of the files."""
        return KeptFile(folder, number, len(self.rows_of(number)), self.shape)

    def rows_of(self, number: int) -> range:
        """Return the rows of a file."""
        start = number * self.rows_per_file
        return range(start, min(start + self.rows_per_file, self.rows))


class KeptFile:
    """A file of outputs, and the file of the digests of their images.

    Args:
        folder: Folder of the plan.
        number: Number of the file.
        rows: Number of its images.
        shape: Shape of an output.
    """

    def __init__(self, folder: Path, number: int, rows: int, shape: Sequence[int]) -> None:
        self._outputs = folder / f'outputs-{number:05}.npy'
        self._digests = folder / f'digests-{number:05}.npy'
        self._rows = rows
        self._shape = tuple(shape)

    def is_there(self) -> bool:
        """Return whether the file was written completely."""
        return self._digests.exists()

    def digests(self) -> np.ndarray:
        """Return the digests, (rows, 16) bytes; raise a ValueError as :meth:`outputs` does."""
        return np.array(_mapped(self._digests, np.dtype('u1'), (self._rows, DIGEST)))

    def outputs(self) -> np.ndarray:
        """Return the outputs, (rows, *shape), mapped into memory; raise a ValueError if the file has no such array."""
        return _mapped(self._outputs, np.dtype('<f4'), (self._rows, *self._shape))

    def write(self, digests: np.ndarray, outputs: np.ndarray) -> None:
        """Write both files, each completely or not at all."""
        self._digests.unlink(missing_ok=True)
        for path, array in ((self._outputs, outputs.astype('<f4', copy=False)), (self._digests, digests)):
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            drop_link_outward(path)
            write_whole(path, content.getvalue())


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f'{path} {"is not a file" if path.exists() else "does not exist"}')
    try:
        array: np.ndarray = np.lib.format.open_memmap(path, mode='r')
    except (ValueError, OSError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f'{path}: no array of NumPy, or one that was cut off') from error
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(f'{path}: an array of {array.dtype} {array.shape}, allowed: {dtype} {shape}')
    return array


def digests_of(pixels: Tensor, field: str) -> np.ndarray:
    """Return a digest of each image.

    Args:
        pixels: Pixels (B, C, H, W), which are integers from 0 to 255 except for rounding errors.
        field: Name of the field for the error message.

    Returns:
        Digests, (B, 16) bytes.

    Raises:
        ValueError: If pixels have other values.
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
    """The outputs in a folder, which are mapped into memory.

    Args:
        folder: Folder of the outputs.
        kind: Expected kind, see :class:`KeptPlan`.
        teacher: Expected record of the teacher, see :class:`KeptPlan`.
        student: Expected normalisation of the student's images, see :class:`KeptPlan`.
        width: Expected number of channels of an output; the height and width of ``maps`` are not checked.

    Raises:
        ValueError: If the outputs have other settings or are incomplete, or a file is damaged.
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
        """Return the outputs (B, *shape) of images by their digests.

        Args:
            digests: Digests of the images, see :func:`digests_of`.
            names: Names of the images for the error message.

        Raises:
            ValueError: If an image has no output.
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
