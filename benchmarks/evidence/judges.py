"""How a network is scored that has been trained: what an arm names where it is not scored as it was trained.

Each has the field values that make it another one, as plain data, and ``score``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mmengine.config import Config

from mmhybrid.apis.testing import evaluate

METRIC = 'accuracy/top1'


class Judge(Protocol):
    """What an arm asks; a frozen dataclass, whose fields are told in the file of the study."""

    def score(self, cfg: Config, weights: str) -> float:
        """Of what ``cfg`` has trained, whose weights are in a file, in percent."""


@dataclass(frozen=True)
class OtherSettings:
    """Top-1 of the trained weights in a network that differs in settings without weights.

    Args:
        options: What replaces settings of the arm, by dotted names.
    """

    options: Mapping[str, Any]

    def score(self, cfg: Config, weights: str) -> float:
        """See :class:`Judge`."""
        cfg.merge_from_dict(dict(self.options))
        return top1(cfg, weights)


def top1(cfg: Config, weights: str) -> float:
    """Top-1 on the images that are held out, in percent."""
    cfg.load_from = weights
    return evaluate(cfg)[METRIC]
