"""Take an adapter along: to the hub, and to whoever asks over HTTP.

    run_adapter.py       what of a run is taken along
    hub.py               uploads to the Hugging Face hub
    hub_contents.py      what is uploaded, and what is not; the model card
    server.py            serves a model over HTTP, by mlx-lm's server
    server_requests.py   which requests reach it

README.md shows each with its real output.
"""
