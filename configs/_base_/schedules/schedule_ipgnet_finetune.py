# In the authors' experiment log, guided networks are fine-tuned from a trained detector, at a fixed
# rate and without warm-up; for 6 epochs in the configs that fit the paper's Table 4.
_base_ = './schedule_ipgnet.py'
train_cfg = dict(max_epochs=6)
param_scheduler = []
optim_wrapper = dict(optimizer=dict(lr=0.001))
