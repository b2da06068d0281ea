# Hard distillation: the student learns the teacher's best class. The paper does not give the weight; this is DeiT's.
distillation = dict(kind='hard', alpha=0.5)
