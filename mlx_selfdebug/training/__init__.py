"""Make pairs from attempts, and an adapter from the pairs or from rewards. See README.md, which follows a pair to its gradient.

    mix.py, examples.py, batches.py            pairs, their tokens and weights, the rows that are computed together
    loss.py, forms.py, loop.py                 the loss and its gradient in little memory, the optimizer's steps
    attention.py, gated_delta.py, recompute.py the forms of layers that forms.py switches to
    session.py, checkpoint.py, selection.py    the steps of one training, its state on disk, the epoch whose adapter is kept
    plan.py, probe.py                          what fits the memory budget, measured with a few layers
    adapter.py                                 puts adapters into a model and keeps them on disk
    reward_prompts.py, rollouts.py             training by rewards: the prompts of a step, their completions and rewards
    reward_update.py, reward_session.py        its update and its steps
    shared_prompt.py, prompt_states.py         its gradient, with the prompt of a group computed once
"""
