"""GLNet-STL with the local branch behind the global one, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_global-local_in1k.py 16``
Source: GLNet, Table 6.
Published: 80.6 % top-1, 30.3 M parameters, 4.4 G FLOPs.
A reading: the second branch takes what the first one returns, within one residual; the paper shows neither, and the
released code has no such block. The recipe is GLNet-STL's.
"""

_base_ = ['../_base_/ablation_glnet.py']

model = dict(backbone=dict(arch=dict(mixers=['global-local', 'global-local', 'global-local', 'mhsa'])))
