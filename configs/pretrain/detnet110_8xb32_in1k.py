# Not in the paper; the schedule is DetNet-59's.
_base_ = './detnet59_8xb32_in1k.py'
model = dict(backbone=dict(depth=110))
