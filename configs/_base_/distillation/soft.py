# Soft distillation: the student learns the teacher's probabilities. The paper gives neither weight nor temperature;
# these are DeiT's.
distillation = dict(kind='soft', alpha=0.1, temperature=3.0)
