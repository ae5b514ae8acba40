"""Fit networks, and run them over people.

`trainer` holds the loop, `epoch` what happens in one; `frozen_head` fits the head of a frozen
backbone; `logits` and `features` run a model over a data set; `checkpoint_content` is what is kept,
`likeness` and `shared_grid` what a checkpoint knows of its training people.
"""
