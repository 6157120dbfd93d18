"""The small process that owns the running tasks, so that they outlive the agent.

It is two processes. The guardian only waits; should the keeper die, all it held falls to the
guardian, which ends it. The keeper starts tasks, reaps them, buries what they leave behind and
tells one agent about it, in lines of JSON over `WORK_DIR/keeper.sock`. It needs the standard
library only, and as little of that as will do: it stays in memory as long as tasks run.
"""
