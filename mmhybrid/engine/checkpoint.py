"""Checkpoints that stay whole when a process is killed at any moment, and checks before a training starts from one."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import FlexibleRunner, Runner

from mmhybrid.models.checkpoint_fit import check_fit
from mmhybrid.models.checkpoints import weights_of
from mmhybrid.registry import HOOKS
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import drop_link_outward, remove_parts, write_whole

# Suffix of a checkpoint while several processes write it.
DRAFT = '.draft'


class AtomicBackend(LocalBackend):
    """Local files that appear under their names only when they are complete."""

    _outdated: list[str] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        drop_link_outward(path)
        write_whole(path, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file."""
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file; within :meth:`removing_last`, remove it at the end of the block."""
        if self._outdated is None:
            super().remove(filepath)
        else:
            self._outdated.append(str(filepath))

    @contextmanager
    def removing_last(self) -> Iterator[None]:
        """Remove files only after everything in the block has been written."""
        self._outdated = []
        try:
            yield
            outdated = self._outdated
        finally:
            self._outdated = None
        for path in outdated:
            self.remove(path)


register_backend('mmhybrid.atomic', AtomicBackend)


def forget_foreign(runner: Runner, hooks: Iterable[CheckpointHook]) -> None:
    """Forget checkpoints in other folders than those of ``hooks``, which a resumed checkpoint may name.

    The hooks would otherwise remove them.
    """
    info, folders = runner.message_hub.runtime_info, {_folder_of(hook, runner) for hook in hooks}
    if 'keep_ckpt_ids' in info:
        kept = info['keep_ckpt_ids']
        steps = [step for step in kept if type(step) is int] if isinstance(kept, list) else []
        runner.message_hub.update_info('keep_ckpt_ids', steps)
    for name in [name for name in info if name.startswith('best_ckpt')]:
        path = info[name]
        if path is not None and not (isinstance(path, str) and Path(path).resolve().parent in folders):
            runner.logger.warning(f'the best checkpoint so far, {path}, is in another folder and stays there')
            del info[name]


def _folder_of(hook: CheckpointHook, runner: Runner) -> Path:
    """Return the folder that a hook will write into, before it has started."""
    if hook.out_dir is None or hook.out_dir == runner.work_dir:
        return Path(runner.work_dir).resolve()
    return Path(hook.out_dir, Path(runner.work_dir).name).resolve()


class ResumeCheck(Hook):
    """Refuses a checkpoint that would make MMEngine's runners run code, and keeps checkpoint hooks to their folders."""

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Raise ValueError if ``meta`` has a ``config``, which resuming would run; MMEngine itself writes ``cfg``."""
        meta = checkpoint.get('meta')
        if runner._resume and (not isinstance(meta, Mapping) or 'config' in meta):
            raise ValueError(
                'training cannot resume: the meta of the checkpoint has a config, which MMEngine would run'
            )

    def before_train(self, runner: Runner) -> None:
        """Check the file names in the checkpoint before the hooks use them."""
        forget_foreign(runner, [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)])


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's checkpoint hook, safe against a kill while it writes.

    A checkpoint, and the ``last_checkpoint`` that names it, get their names once they are complete. What they replace
    is removed after that. Partial files of a killed training are removed by the next training in the same folder. The
    arguments are those of CheckpointHook; without ``backend_args``, files are local.
    """

    backend_args: dict[str, Any] | None

    def before_run(self, runner: Runner) -> None:
        """Raise ValueError for an ``out_dir`` on another machine without the ``backend_args`` to reach it."""
        if '://' in str(self.out_dir) and self.backend_args is None and self.file_client_args is None:
            raise bad_value('out_dir', self.out_dir, 'a folder of this machine, or any folder with backend_args')

    def before_train(self, runner: Runner) -> None:
        """Choose the file backend, and remove partial files."""
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = {'backend': 'mmhybrid.atomic'}
        forget_foreign(runner, [self])
        super().before_train(runner)
        if isinstance(self.file_backend, AtomicBackend) and is_main_process():
            self._remove_parts(runner)

    def _remove_parts(self, runner: Runner) -> None:
        ending = re.escape(Path(self.filename_tmpl).suffix)
        for folder in {Path(runner.work_dir), Path(self.out_dir)}:
            if folder.is_dir():
                remove_parts(folder, rf'last_checkpoint|.+{ending}')
                for draft in folder.glob(f'.*{DRAFT}'):
                    if re.fullmatch(rf'.+{ending}', draft.name.removesuffix(DRAFT)):
                        _remove(draft)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        if isinstance(runner.optim_wrapper, OptimWrapper) and not runner.optim_wrapper.should_update():
            runner.logger.warning(
                'A checkpoint leaves out gradients accumulated since the last update: resuming is exact only when '
                'checkpoint intervals are multiples of optim_wrapper.accumulative_counts'
            )
        outdated = self._make_room(runner, step)
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        # A FlexibleRunner writes the files itself, or a folder with a file for each process.
        drafted = isinstance(runner, FlexibleRunner) and isinstance(self.file_backend, AtomicBackend)
        if drafted:
            self._remove_first([Path(self.out_dir, f'.{filename}{DRAFT}')])
        runner.save_checkpoint(
            self.out_dir,
            f'.{filename}{DRAFT}' if drafted else filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if drafted:
            self._name_draft(filename)
        if is_main_process():
            AtomicBackend().put_text(self.last_ckpt, Path(runner.work_dir) / 'last_checkpoint')
            if outdated is not None and self.file_backend.isfile(outdated):
                self.file_backend.remove(outdated)
            elif outdated is not None and self.file_backend.isdir(outdated):
                self.file_backend.rmtree(outdated)

    def _name_draft(self, filename: str) -> None:
        """Give a checkpoint its name once every process has written its part."""
        barrier()
        if is_main_process():
            path = Path(self.out_dir, filename)
            if path.is_dir():
                _remove(path)
            os.replace(path.with_name(f'.{filename}{DRAFT}'), path)
        barrier()

    def _remove_first(self, paths: Iterable[Path]) -> None:
        """Remove what has these names before processes write there, which would follow links of others."""
        if is_main_process():
            for path in paths:
                _remove(path)
        barrier()

    def _make_room(self, runner: Runner, step: int) -> str | None:
        """Register the coming checkpoint, and return the one that it replaces under ``max_keep_ckpts``."""
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return None
        outdated = None
        if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
            name = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
            outdated = self.file_backend.join_path(self.out_dir, name)
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return outdated

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        if isinstance(self.file_backend, AtomicBackend):
            if isinstance(runner, FlexibleRunner):  # it writes the file itself
                self._remove_first(path for path in Path(self.out_dir).glob('best_*') if path.is_symlink())
            with self.file_backend.removing_last():
                super()._save_best_checkpoint(runner, metrics)
        else:
            super()._save_best_checkpoint(runner, metrics)


def _remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link without what it leads to, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class FitCheck(Hook):
    """Refuses a ``load_from`` of which nothing fits the model, and reports what a partial fit leaves out."""

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the weights with the model before they are loaded."""
        wrapped: Any = runner.strategy.model if isinstance(runner, FlexibleRunner) else runner.model
        model = wrapped.module if is_model_wrapper(wrapped) else wrapped
        check_fit(model, weights_of(checkpoint), f'load_from: {runner._load_from}')
