"""Search over the supernet around EfficientNet-Lite0 on Imagenette, for the front of accuracy and multiply-accumulates.

Command: ``python tools/search.py configs/efficientnet-lite/search_efficientnet-lite0_imagenette.py
--checkpoint CHECKPOINT``, with that of ``supernet_efficientnet-lite0_imagenette.py``
Source: ours, a quick check on real photographs.
Published: none.
"""

_base_ = ['./supernet_efficientnet-lite0_imagenette.py', '../_base_/search/nsga2.py']

# Lite0 itself has 385 M
search_cfg = dict(constraints=dict(macs_m=dict(max=386.0)), calibration=_base_.calibration)
