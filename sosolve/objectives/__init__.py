"""Objectives: a loss after a model, penalties, and their sums."""

from .data_term import DataTerm
from .losses import LogisticLoss, Loss, SoftmaxLoss, SquaredLoss
from .models import LinearModel
from .penalties import L2
from .sums import Sum

__all__ = ["L2", "DataTerm", "LinearModel", "LogisticLoss", "Loss", "SoftmaxLoss", "SquaredLoss", "Sum"]
