"""GLNet-STL with depth-wise convolutions of 3x3, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_kernel-3_in1k.py 16``
Source: GLNet, Table 6, whose parameters of the 3x3 and the 7x7 row look exchanged.
Published: 82.4 % top-1, 30.4 M parameters, 4.3 G FLOPs.
The recipe is that of GLNet-STL; the paper gives none for its ablations.
"""

_base_ = ['../_base_/ablation_glnet.py']

model = dict(backbone=dict(arch=dict(local_kernels=[3, 3, 3, 3])))
