# Ext with a conv-head that does not classify, so it trains on positive RoIs only.
_base_ = './double-head_r50_fpn_1x_coco.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            lambda_fc=_base_.double_head_ext.lambda_fc,
            norm_cfg=dict(type='GN', num_groups=32, requires_grad=True),
        )
    )
)
