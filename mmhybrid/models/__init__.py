"""Models: backbones, necks, heads, supernets, one-shot training. Importing it registers all but the search's."""

from mmhybrid.utils.optional import require

require('mmcv', 'mmhybrid')

from mmhybrid.models import backbones, heads, necks, resized_inputs, token_label_classifier  # noqa: E402

__all__ = ['backbones', 'heads', 'necks', 'resized_inputs', 'token_label_classifier']
