"""Make pairs from attempts, and an adapter from the pairs or from rewards.

    mix.py               pairs from attempts and bugs
    dead_end.py          why a run can never be trained, and what to do instead
    examples.py          their tokens and weights
    batches.py           the rows of a step that are computed together
    loss.py              the loss and its gradient, in little memory
    loop.py              the optimizer's steps
    session.py           the steps of one training on pairs, recorded and resumed
    checkpoint.py        the state of a training on disk
    selection.py         the epoch or step whose adapter is kept
    adapter.py           adapters in a model and on disk
    plan.py, probe.py    what fits the memory budget, measured with a few layers

    forms.py             switches a network to the forms in which it is trained:
    attention.py         causal attention without stored scores
    gated_delta.py       recurrent layers, chunk by chunk
    recompute.py         layers that keep only their input

    reward_prompts.py    the prompts of a step of training by rewards
    rollouts.py          their completions and rewards
    reward_update.py     the update
    shared_prompt.py     its gradient, with each prompt computed once
    prompt_states.py     what the layers keep of a prompt
    reward_session.py    the steps of one training by rewards, recorded and resumed

README.md follows a pair through these modules to its gradient.
"""
