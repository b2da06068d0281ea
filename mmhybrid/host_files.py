"""What the hosts write beside data and in work folders under names of their own: whole, and through no link outward.

:mod:`mmhybrid.compat` has the hosts call these functions instead of theirs.
"""

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmengine
import torch

from mmhybrid.utils.files import check_stays_within, drop_link_outward, write_whole


def dump_own(content: Any, file: str, file_format: str = 'json') -> None:
    """Do what ``mmengine.dump`` does with a local file."""
    drop_link_outward(file)
    write_whole(file, mmengine.dump(content, file_format=file_format))


def save_own(content: Any, path: str | Path) -> None:
    """Do what ``torch.save`` does with a file."""
    saved = io.BytesIO()
    torch.save(content, saved)
    drop_link_outward(path)
    write_whole(path, saved.getvalue())


def unpack_own(
    unpack: Callable[..., None], archive: str, folder: str | None = None, remove_finished: bool = False
) -> None:
    """Unpack an archive into an empty folder beside the wanted one, and move the files from there.

    Args:
        unpack: MMPretrain's ``extract_archive``, which writes through links.
        archive: Path of the archive.
        folder: Folder to unpack into; None for that of the archive.
        remove_finished: Whether the archive is removed afterwards.

    Raises:
        ValueError: If a folder of the archive is a link that leads out of ``folder``.
    """
    target = Path(os.path.dirname(archive) if folder is None else folder)
    with tempfile.TemporaryDirectory(dir=target, prefix='.unpacked-') as part:
        unpack(archive, part, remove_finished)
        for path in sorted(Path(part).rglob('*')):
            place = target / path.relative_to(part)
            check_stays_within(place.parent, target)
            if path.is_dir() and not path.is_symlink():
                place.mkdir(exist_ok=True)
            else:
                os.replace(path, place)
