"""Make pairs from attempts, and an adapter from the pairs or from rewards.

    mix.py                     pairs from attempts                        attention.py       causal attention without stored scores
    examples.py, batches.py    their tokens and weights; micro-batches    gated_delta.py     recurrent layers chunk by chunk
    loss.py                    the loss and its gradient                  recompute.py       layers that keep only their input
    loop.py                    the optimizer's steps                      forms.py           switches a network to these three forms
    session.py                 the steps of one training on pairs         checkpoint.py      the state of a training on disk
    selection.py               the epoch or step whose adapter is kept    adapter.py         adapters in a model and on disk
    plan.py, probe.py          what fits the memory budget                reward_prompts.py  the prompts of a reward step
    rollouts.py                their completions and rewards              reward_update.py   the update of a reward step
    reward_session.py          the steps of one training by rewards       shared_prompt.py   its gradient, each prompt computed once
    prompt_states.py           what layers keep of a prompt

README.md follows a pair to its gradient, in the order in which these modules call each other.
"""
