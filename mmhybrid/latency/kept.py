"""A folder of exported networks, so that each is exported only once."""

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import torch

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import DTYPES, ExportedBackend
from mmhybrid.latency.devices import versions_of
from mmhybrid.space import Arch
from mmhybrid.utils.files import remove_parts, write_whole
from mmhybrid.utils.own_key import own_key
from mmhybrid.version import __version__

# Number of hexadecimal digits of a digest in a file name.
DIGITS = 32


class KeptNetworks:
    """The exported networks of a space, in a folder.

    A file name has two digests. The first identifies the network: arch, workload, image shape, backend, dtype and the
    versions of the packages that export. The second is a signature of the first and of the file's content, with a key
    of the user's. A file of another network or version, a damaged or renamed file and a file that somebody else put
    there are therefore never used. The signature matters because runtimes trust what a file says.

    Args:
        folder: Folder of the files; it is created if it does not exist.
        workload: The networks of the space.
        backend: The backend for which the networks are exported.
        dtype: Data type of their weights.
        batch: Batch size.

    Raises:
        ValueError: If the folder is a link or not a folder.
    """

    def __init__(
        self, folder: str | Path, workload: Workload, backend: type[ExportedBackend], dtype: str, batch: int
    ) -> None:
        self.folder = Path(folder)
        self.workload = workload
        self.backend = backend
        self.dtype = dtype
        self.batch = batch
        versions = {'mmhybrid': __version__, **versions_of(backend.exporters)}
        self._origin = {
            **vars(workload.to_config()),
            'backend': f'{backend.__module__}.{backend.__qualname__}',
            'dtype': dtype,
            'versions': versions,
        }
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            raise ValueError(f'{folder}: allowed: a folder, no link to another, in which networks are kept')
        self.folder.mkdir(exist_ok=True)

    def missing(self, archs: Iterable[Arch]) -> list[Arch]:
        """Return those archs whose network is missing or damaged."""
        return [arch for arch in dict.fromkeys(archs) if self._find(arch) is None]

    def export(self, arch: Arch) -> bytes:
        """Export a network, keep its file and return the content."""
        images = torch.zeros(self.shape(arch))
        content = self.backend.export(self.workload.build_network(arch), images, DTYPES[self.dtype])
        for damaged in self._named(arch):
            damaged.unlink()
        origin = self._digest(arch)
        write_whole(self.folder / f'{origin}.{_signature(origin, content)}{self.backend.suffix}', content)
        return content

    def content(self, arch: Arch) -> bytes:
        """Return the content of a network's file; the network is exported first if it is missing."""
        found = self._find(arch)
        return self.export(arch) if found is None else found[1]

    def named_content(self, arch: Arch) -> tuple[str, bytes]:
        """Return the file name and the content of a network that is in the folder."""
        found = self._find(arch)
        assert found is not None
        return found[0].name, found[1]

    def shape(self, arch: Arch) -> tuple[int, ...]:
        """Return the shape of a network's images: (batch, channels, height, width)."""
        return self.batch, *self.workload.input_shape(arch)

    def remove(self, but: Collection[str] = ()) -> None:
        """Remove the files of all networks except those named in ``but``, and the folder if it is empty then."""
        names = rf'[0-9a-f]{{{DIGITS}}}\.[0-9a-f]{{{DIGITS}}}{re.escape(self.backend.suffix)}'
        remove_parts(self.folder, names)
        for path in list(self.folder.iterdir()):
            if re.fullmatch(names, path.name) and path.name not in but and not path.is_dir():
                path.unlink()
        with suppress(OSError):
            self.folder.rmdir()

    def _find(self, arch: Arch) -> tuple[Path, bytes] | None:
        for path in self._named(arch):
            content = path.read_bytes()
            origin, signature = path.name.split('.')[:2]
            if hmac.compare_digest(signature.encode(), _signature(origin, content).encode()):
                return path, content
        return None

    def _named(self, arch: Arch) -> list[Path]:
        paths = self.folder.glob(f'{self._digest(arch)}.*{self.backend.suffix}')
        return [path for path in paths if path.is_file()]

    def _digest(self, arch: Arch) -> str:
        network = {**self._origin, 'arch': dict(arch), 'shape': self.shape(arch)}
        return _digest(json.dumps(network, sort_keys=True).encode())


def _signature(origin: str, content: bytes) -> str:
    return hmac.new(own_key(), origin.encode() + content, hashlib.sha256).hexdigest()[:DIGITS]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]
