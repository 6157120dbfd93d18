"""What the tests with containers are made of."""

from typing import Any

from private_docker import BUSYBOX
from scripted import ScriptedServer

from pytq.schema import frames
from pytq.schema.states import Cause, Outcome


def step(command: str | list[str], *options: str, **more: Any) -> dict[str, Any]:
    """A step in a container of busybox, without a network unless an option gives it one."""
    network = () if any(word.startswith("--net") for word in options) else ("--network=none",)
    return {
        "command": command,
        "container": BUSYBOX,
        "container_options": [*network, *options],
        **more,
    }


async def ended(server: ScriptedServer, ref: frames.Ref, seconds: float = 40.0) -> frames.Ended:
    """Wait for an execution in a container, on a machine that may be busy."""
    return await server.end_of(ref, seconds)


async def run_all(
    server: ScriptedServer, steps: list[dict[str, Any]], seconds: float = 100.0
) -> list[frames.Ref]:
    """Run tasks of one step each, which all succeed; what is handed back is leased again."""
    refs = [server.add(steps=[one]) for one in steps]
    await server.until(lambda: server.reports)
    await server.hand_out()
    done = []
    while refs:
        ref = refs.pop(0)
        end = await ended(server, ref, seconds)
        if end.cause is Cause.RETURNED:
            refs.append(server.add(steps=[dict(server.leases[ref].spec.steps[0])]))
            await server.hand_out()
        else:
            assert end.outcome is Outcome.SUCCEEDED, end
            done.append(ref)
    return done
