"""Steps that run in a container, by the dockerd of this machine.

`run.py` is the life of one container, `listening.py` what is heard of it (live by `attachment.py`,
copied by `output.py`), `order.py` what is to be run, drawn up by `clerk.py`; `dockerd.py` speaks
with dockerd. `config.py`, `options.py` and `names.py` are pure. `images.py`, with `pulls.py` and
`credentials.py`, brings images; `usage.py` reads what a container uses, `ownership.py` sees to
whose its files are. The door to all of it is `pytq/worker/containers.py`.
"""
