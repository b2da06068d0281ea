# Towards the teacher's decisions. The paper does not give the weight; this is DeiT's.
distillation = dict(kind='hard', alpha=0.5)
