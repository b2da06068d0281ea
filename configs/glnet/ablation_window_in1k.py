"""GLNet-STL with attention in 7x7 windows as the local branch, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_window_in1k.py 16``
Source: GLNet, Table 6.
Published: 81.1 % top-1, 32.2 M parameters, 5.0 G FLOPs.
A reading: windows are not shifted, and maps are padded to whole ones; the released code has no such block. The recipe
is GLNet-STL's.
"""

_base_ = ['../_base_/ablation_glnet.py']

model = dict(backbone=dict(arch=dict(mixers=['window-global', 'window-global', 'window-global', 'mhsa'])))
