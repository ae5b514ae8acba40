"""A step that learns several tasks at once: a loss each, of the images whose answer is known.

Arrays: images ``(B, 1, ...)``; answers ``(B, 1 + T)`` as `TaskDataset` gives them; outputs
``(B, K + T)``: logits of K classes, then T outputs of `TaskHeads`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import TrainConfig
from ..data.dataset import MriDataset
from ..data.task_data import TaskDataset
from ..models.classifier import Classifier
from ..models.task_heads import TaskHeads
from ..models.task_values import SEX, person_means
from .epoch import Step

#: What an amount of no image is raised to, so that nothing is divided by it.
_NOTHING = 1e-30


def add_tasks(model: Classifier, train: MriDataset, config: TrainConfig) -> TaskDataset | None:
    """Give a model the heads that ``--tasks`` asks for, centred on training people.

    Args:
        model: Changed in place: it has heads of these tasks and of no others.
        train: Rated training people; the data set's manifest knows the others.
        config: Names the tasks.

    Returns:
        Training people with answers, unrated ones among them; None for the stage alone.

    Raises:
        ManifestError: Too few training people have an answer to a task.
        LeakageError: As `TaskDataset`.
    """
    if model.task_heads is not None:
        del model.more_heads
    if not config.beside:
        return None
    data = TaskDataset(train, config.beside)
    heads = model.add_tasks(config.beside)
    heads.centre_on(torch.from_numpy(person_means(data.targets, data.subjects)))
    heads.log_variances.requires_grad_(config.weights_beside is None)
    return data


class AllHeads(nn.Module):
    """A classifier whose outputs are those of all its heads, of one pass through the backbone."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs ``(B, K + T)`` of images."""
        embedding = self.model.embed(images)
        more = self.model.more_heads(self.model.dropout(embedding))
        return torch.cat([self.model.classify(embedding), more], dim=1)


class TaskStep(Step):
    """Learns the stage and the tasks beside it from one batch.

    The loss of a batch is the sum over tasks of weight times mean loss of the images with a known
    answer: the stage's own loss; of age and MMSE half the squared error in standard deviations of
    training people; of sex the log-loss. A task that nobody in the batch answers adds nothing.

    Weights are set, the stage's being 1; or learnt: exp(-s) with s / 2 added to the loss, where s
    is the logarithm of how uncertain a task's answers are.

    Source: Kendall, Gal & Cipolla (2018), arXiv:1705.07115.

    Args:
        heads: Of the network.
        set_weights: Of the tasks beside the stage, by name; None where they are learnt.
        learns_stage: Without, the stage's loss counts nothing: it teaches neither head nor
            backbone, and has no weight to learn.
        given: What `Step` takes.
        named: What `Step` takes by name.
    """

    def __init__(
        self,
        heads: TaskHeads,
        set_weights: dict[str, float] | None,
        *given: Any,
        learns_stage: bool = True,
        **named: Any,
    ) -> None:
        super().__init__(*given, **named)
        self.heads, self.learnt = heads, set_weights is None
        known = set_weights or dict.fromkeys(heads.names, 1.0)
        weights = [1.0, *(known[name] for name in heads.names)]
        self.task_weights = torch.tensor(weights, device=heads.centre.device)
        self.asked = torch.ones_like(self.task_weights)
        self.asked[0] = float(learns_stage)

    def amount(self, answers: Tensor) -> Tensor:
        """Return ``(2 + T,)``: class weights of rated images, known answers of tasks, images."""
        rated = answers[:, 0] >= 0
        stage = self.weights[answers[rated, 0].long()].sum()
        known = answers[:, 1:].isfinite().sum(dim=0).to(stage.dtype)
        return torch.cat([stage[None], known, stage.new_tensor([len(answers)])])

    def loss(self, outputs: Tensor, answers: Tensor, amount: Tensor) -> Tensor:
        """Return the share that these images have in the batch's loss.

        Args:
            outputs: ``(B, K + T)``.
            answers: ``(B, 1 + T)``.
            amount: ``(2 + T,)`` of the whole batch, as `amount` returns it of a share.
        """
        k = len(self.weights)
        rated = answers[:, 0] >= 0
        sums = [self.loss_of(outputs[rated, :k], answers[rated, 0].long())]
        for place, name in enumerate(self.heads.names):
            known = answers[:, 1 + place].isfinite()
            said, truth = outputs[known, k + place], answers[known, 1 + place]
            if name == SEX:
                loss = functional.binary_cross_entropy_with_logits(said, truth, reduction="sum")
            else:
                truth = (truth - self.heads.centre[place]) / self.heads.scale[place]
                loss = (said - truth).square().sum() / 2
            sums.append(loss)
        means = torch.stack(sums) / amount[:-1] * self.asked
        if not self.learnt:
            return (self.task_weights * means).sum()
        s = self.heads.log_variances
        # s / 2 belongs to the batch: each part of it and each process has a share.
        share = len(answers) / amount[-1]
        answered = (amount[:-1] > _NOTHING) * self.asked
        return (torch.exp(-s) * means).sum() + share * (s * answered).sum() / 2
