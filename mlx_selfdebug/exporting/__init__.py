"""Take an adapter along: into mlx-lm, into PEFT and transformers, or merged into its model.

    export.py        the way in: one function for every form
    run_adapter.py   what of a run is taken along
    mlx_lm.py        the adapter in mlx-lm's format, also out of PEFT's
    peft.py          the adapter in PEFT's format
    fused.py         a whole model with the adapter merged into it
    difference.py    how far the logits of an export are from those of base and adapter
    card.py          the model card of an export
    writing.py       folders that are written whole or not at all

README.md shows what each form is for, with its real output.
"""
