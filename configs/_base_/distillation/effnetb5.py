# The teacher EfficientNet-B5. The paper does not name its weights: of timm's that know ImageNet-1k alone,
# ``tf_efficientnet_b5.in1k`` come nearest to the 83.3 % (83.2 % by timm's own list). Save them once:
# ``python -c "import timm, torch; torch.save(timm.create_model('tf_efficientnet_b5.in1k',
# pretrained=True).state_dict(), 'checkpoints/tf_efficientnet_b5.pth')"``
# It sees the images resized to 456 px, the size of its weights.
teacher = dict(timm='tf_efficientnet_b5.in1k', checkpoint='checkpoints/tf_efficientnet_b5.pth')
