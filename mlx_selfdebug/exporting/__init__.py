"""Take an adapter along: into mlx-lm, into PEFT and transformers, merged into its model, to the hub, or to whoever asks over HTTP.

    export.py        the way in: one function for every form
    run_adapter.py   what of a run is taken along
    mlx_lm.py        the adapter in mlx-lm's format, also out of PEFT's
    peft.py          the adapter in PEFT's format
    fused.py         a whole model with the adapter merged into it
    gguf.py          the same as a GGUF file (gguf_*.py: its tensors, metadata and tokenizer, and the writer)
    difference.py    how far the logits of an export are from those of base and adapter
    card.py          the model card of an export
    writing.py       folders that are written whole or not at all
    hub.py           uploads to the Hugging Face hub
    hub_contents.py  what is uploaded, and what is not; the model card
    server.py        serves a model over HTTP, by mlx-lm's server
    server_requests.py  which requests reach it

README.md shows what each form is for, with its real output.
"""
