"""Supernet of AutoViT-XS on ImageNet-1k, with hard distillation from EfficientNet-B5 (83.3 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xs_hard-effnetb5_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, sections 3.3.1 and 5.1, Tables 1, 2 and 5.
Published: none.
The paper does not name the teacher's weights. Of timm's that know ImageNet-1k alone, ``tf_efficientnet_b5.in1k`` come
nearest to the 83.3 % (83.2 % by timm's own list). Save them once:
``python -c "import timm, torch; torch.save(timm.create_model('tf_efficientnet_b5.in1k', pretrained=True).state_dict(),
'checkpoints/tf_efficientnet_b5.pth')"``
The paper does not give the weight of the distillation; this is DeiT's.
The teacher sees the images resized to 456 px, the size of its weights.
"""

_base_ = ['./supernet_autovit_xs_in1k.py']

model = dict(
    teacher=dict(timm='tf_efficientnet_b5.in1k', checkpoint='checkpoints/tf_efficientnet_b5.pth'),
    distillation=dict(kind='hard', alpha=0.5),
)
