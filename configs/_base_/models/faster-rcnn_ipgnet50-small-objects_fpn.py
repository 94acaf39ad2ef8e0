# Half the usual anchor sizes (16 to 256 pixels), and more boxes per image.
_base_ = './faster-rcnn_ipgnet50_fpn.py'
model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    train_cfg=dict(rpn_proposal=dict(max_per_img=2000)),
    test_cfg=dict(
        rpn=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(max_per_img=500),
    ),
)
