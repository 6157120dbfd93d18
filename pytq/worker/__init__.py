"""The worker: takes leases from a server, runs them, and tells what came of it.

`machine` decides and touches nothing; `keeper` owns the running processes; `agent` wires.
"""
