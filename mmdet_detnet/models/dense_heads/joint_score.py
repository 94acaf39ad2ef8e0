"""The joint score of RetinaNet-Conf, ``cls^(1 - a) * conf^a``, as logits."""

import torch
from torch import Tensor


@torch.no_grad()
def joint_logits(
    cls_logits: Tensor, conf_logits: Tensor, conf_exponent: float, score_thr: float = 0.0
) -> Tensor:
    """Fold the confidence into the class logits, so that their sigmoid is the joint score.

    Args:
        cls_logits: ``(N, num_anchors * num_classes, H, W)``, float32.
        conf_logits: ``(N, num_anchors, H, W)``, float32.
        conf_exponent: Exponent of the confidence; that of the class score is one minus it.
        score_thr: The joint score is set to 0 if the class score is too low for it to exceed this
            threshold. This applies to nearly all scores and makes the function fast.

    Returns:
        Logits of the joint score, with the shape of ``cls_logits``; infinite for scores of 0 and 1.
    """
    num_classes = cls_logits.shape[1] // conf_logits.shape[1]
    least_cls = torch.tensor(max(score_thr, 0) ** (1 / (1 - conf_exponent)))
    image, channel, y, x = possible = (cls_logits > least_cls.logit()).nonzero(as_tuple=True)
    conf = conf_logits[image, channel // num_classes, y, x].sigmoid()
    scores = cls_logits[possible].sigmoid() ** (1 - conf_exponent) * conf**conf_exponent
    # With channels last, mmdet need not copy to reorder the anchors.
    folded = torch.full_like(cls_logits, -torch.inf, memory_format=torch.channels_last)
    folded[possible] = scores.logit()
    return folded
