"""Steps that run in a container, by the dockerd of this machine.

`dockerd.py` speaks with it; `run.py` is the life of one container; `config.py`, `options.py` and
`names.py` are pure; `images.py` with `pulls.py` and `credentials.py` bring images; `logs.py`
copies output; `usage.py` reads what a container used. The door to all of it is
`pytq/worker/containers.py`.
"""
