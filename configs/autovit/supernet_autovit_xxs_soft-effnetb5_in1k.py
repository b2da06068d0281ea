"""Supernet of AutoViT-XXS on ImageNet-1k, with soft distillation from EfficientNet-B5 (83.3 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_soft-effnetb5_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, sections 3.3.1 and 5.1, Tables 1, 5 and 6.
Published: 68.6 % top-1, 1.8 M parameters for the network found (Table 6).
The paper does not name the teacher's weights. Of timm's that know ImageNet-1k alone, ``tf_efficientnet_b5.in1k`` come
nearest to the 83.3 % (83.2 % by timm's own list). Save them once:
``python -c "import timm, torch; torch.save(timm.create_model('tf_efficientnet_b5.in1k', pretrained=True).state_dict(),
'checkpoints/tf_efficientnet_b5.pth')"``
The paper gives neither weight nor temperature of the distillation; these are DeiT's.
The teacher sees the images resized to 456 px, the size of its weights.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py']

model = dict(
    teacher=dict(timm='tf_efficientnet_b5.in1k', checkpoint='checkpoints/tf_efficientnet_b5.pth'),
    distillation=dict(kind='soft', alpha=0.1, temperature=3.0),
)
