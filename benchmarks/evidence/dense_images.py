"""Images of the dense tasks: CamVid, of which each seed holds other scenes out, and scenes drawn for each seed."""

import fcntl
from pathlib import Path
from random import Random

import cv2

from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import drop_link_outward, open_own, write_whole

SUCCESSIVE = 12  # frames that are in one part, since neighbours look alike
HELD_OUT = 8  # of CamVid's 39 groups of successive frames
TRAIN_SCENES, HELD_OUT_SCENES = 800, 200


def shrunken_camvid(data: Path, folder: Path, height: int, seed: int) -> dict[str, Path]:
    """Write CamVid's frames and label maps in a smaller size, and the lists of a seed's frames.

    Args:
        data: CamVid, with ``img_dir`` and ``ann_dir`` and ``train`` and ``val`` in each.
        folder: Where they are written, once for all seeds, into ``images`` and ``labels``.
        height: Of the frames, in pixels.
        seed: Decides which groups of successive frames are held out.

    Returns:
        The lists of frames, by part: ``train`` and ``held_out``.

    Raises:
        ValueError: If there are too few frames, or one cannot be read.
    """
    frames = sorted(path.relative_to(data / 'img_dir') for path in data.glob('img_dir/*/*.jpg'))
    groups = [frames[begin : begin + SUCCESSIVE] for begin in range(0, len(frames), SUCCESSIVE)]
    if len(groups) <= HELD_OUT:
        raise bad_value(f'frames in {data}/img_dir', len(frames), f'more than {HELD_OUT * SUCCESSIVE}')
    folder.mkdir(parents=True, exist_ok=True)
    with open_own(folder / 'lock', append=True) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for frame in frames:
            label = frame.with_suffix('.png')
            _shrink(data / 'img_dir' / frame, folder / 'images' / label.name, height, cv2.INTER_AREA)
            _shrink(data / 'ann_dir' / label, folder / 'labels' / label.name, height, cv2.INTER_NEAREST)
        Random(seed).shuffle(groups)
        parts = {'train': groups[HELD_OUT:], 'held_out': groups[:HELD_OUT]}
        lists = {part: folder / f'{part}_{seed}.txt' for part in parts}
        for part, file in lists.items():
            names = [frame.stem for group in parts[part] for frame in group]
            drop_link_outward(file)
            write_whole(file, ''.join(f'{name}\n' for name in sorted(names)))
    return lists


def _shrink(source: Path, target: Path, height: int, interpolation: int) -> None:
    if target.exists():
        return
    image = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f'{source} is not an image')
    width = round(image.shape[1] * height / image.shape[0])
    done, code = cv2.imencode('.png', cv2.resize(image, (width, height), interpolation=interpolation))
    assert done
    target.parent.mkdir(exist_ok=True)
    drop_link_outward(target)
    write_whole(target, code.tobytes())


def drawn_scenes(folder: Path, size: int, seed: int) -> Path:
    """Draw the scenes of a seed into ``folder``, in the layouts of the demo data, and return that of COCO.

    Args:
        folder: Of this seed's scenes.
        size: Their height and width, in pixels.
        seed: Of what is on them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_own(folder.with_suffix('.lock'), append=True) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_demo_data(folder, TRAIN_SCENES, HELD_OUT_SCENES, size, seed)
    return folder / 'coco'
