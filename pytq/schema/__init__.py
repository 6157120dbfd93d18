"""The shared words of PYTQ: models, states, URIs, limits, wire frames and API endpoints.

Nothing here does I/O or reads a clock. Import from the submodules; this file stays empty so that
`pytq launch` can read `pytq.schema.limits` without paying for pydantic.
"""
