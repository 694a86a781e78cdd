"""Objectives: a loss after a model, penalties, and their sums."""

from .composite import Composite
from .data_term import DataTerm
from .losses import LogisticLoss, Loss, SoftmaxLoss, SquaredLoss
from .models import LinearModel
from .penalties import L2, Separable
from .sums import Sum

__all__ = [
    "L2",
    "Composite",
    "DataTerm",
    "LinearModel",
    "LogisticLoss",
    "Loss",
    "Separable",
    "SoftmaxLoss",
    "SquaredLoss",
    "Sum",
]
