"""The keeper: what it starts, how it ends things, and what outlives what."""

import os
import signal
import time
from pathlib import Path

import pytest
from worker_parts import Keeper, alive, wait_for


def test_it_tells_exit_code_and_keeps_output(keeper: Keeper) -> None:
    """A command's output is in its files and its exit code is told."""
    keeper.start("1.1.0", "sh", "-c", "echo out; echo err >&2; exit 3")

    exited = keeper.hear_of("1.1.0", "exited")

    assert (exited["code"], exited["signal"], exited["cause"]) == (3, None, "")
    assert keeper.out("1.1.0") == "out\n"
    assert (keeper.home / "room" / "1.1.0.err").read_text() == "err\n"


def test_a_task_gets_its_environment_and_nothing_else(keeper: Keeper) -> None:
    """Nothing of the worker's own environment reaches a task."""
    keeper.start("1.1.0", "env")
    keeper.hear_of("1.1.0", "exited")

    names = {line.partition("=")[0] for line in keeper.out("1.1.0").splitlines()}

    assert names == {"PATH", "PYTQ_TASK", "PYTQ_ATTEMPT"}


def test_a_task_starts_with_default_signals_and_few_files(keeper: Keeper) -> None:
    """No ignored or blocked signal and no open file of the keeper's is passed on."""
    keeper.start("1.1.0", "sh", "-c", "grep Sig /proc/self/status; ls /proc/self/fd")
    keeper.hear_of("1.1.0", "exited")

    said = keeper.out("1.1.0").split()
    own = ~(3 << 31)  # the C library's own two, which no program can touch

    assert int(said[said.index("SigIgn:") + 1], 16) & own == 0
    assert int(said[said.index("SigBlk:") + 1], 16) & own == 0
    assert said[-4:] == ["0", "1", "2", "3"]  # 3 is ls, reading the folder


@pytest.mark.parametrize(
    ("argv", "number"), [(["no-such-program"], 2), (["/"], 13), (["x" * 200_000], 7)]
)
def test_what_cannot_start_says_why(keeper: Keeper, argv: list[str], number: int) -> None:
    """A command that cannot be started is told as failed, with the reason."""
    if number == 7:
        argv = ["true", *argv]
    keeper.start("1.1.0", *argv)

    assert number == keeper.hear_of("1.1.0", "failed")["errno"]


def test_a_script_without_a_shebang_runs(keeper: Keeper) -> None:
    """A script without #! is given to sh, as a shell would."""
    script = keeper.home / "room" / "script"
    script.write_text("echo from $1\n")
    script.chmod(0o755)
    keeper.start("1.1.0", "./script", "here")
    keeper.hear_of("1.1.0", "exited")

    assert keeper.out("1.1.0") == "from here\n"


def test_the_same_start_twice_runs_once(keeper: Keeper) -> None:
    """A start of something known starts nothing; its state is told instead."""
    for _ in range(3):
        keeper.start("1.1.0", "sh", "-c", "echo once")
    keeper.hear_of("1.1.0", "exited")
    keeper.start("1.1.0", "sh", "-c", "echo once")

    assert keeper.hear_of("1.1.0", "exited")["code"] == 0
    assert keeper.out("1.1.0") == "once\n"


def test_the_verdict_waits_for_the_whole_tree(keeper: Keeper) -> None:
    """Daemons a task leaves behind are dead before its exit is told."""
    script = "setsid sh -c 'sleep 987.1 & sleep 987.1' & sleep 987.1 & sleep 0.2; exit 5"
    keeper.start("1.1.0", "sh", "-c", script)

    assert keeper.hear_of("1.1.0", "exited")["code"] == 5
    assert not alive("987.1")


def test_a_daemon_of_a_running_task_is_left_alone(keeper: Keeper) -> None:
    """What one task put into the background outlives the end of another."""
    keeper.start("1.1.0", "sh", "-c", "(setsid sleep 986.2 &); sleep 1")
    wait_for(lambda: alive("986.2"))
    keeper.start("2.1.0", "true")
    keeper.hear_of("2.1.0", "exited")

    assert alive("986.2")
    keeper.hear_of("1.1.0", "exited")
    assert not alive("986.2")


@pytest.mark.parametrize("wanted", ["term", "kill"])
def test_a_signal_reaches_the_whole_tree(keeper: Keeper, wanted: str) -> None:
    """Term and kill end a task and what it started in sessions of its own."""
    keeper.start("1.1.0", "sh", "-c", "setsid sleep 985.3 & sleep 985.3; sleep 985.3")
    wait_for(lambda: len(alive("sleep\0985.3")) == 2)
    keeper.say({"type": "signal", "id": "1.1.0", "signal": wanted, "cause": "cancelled"})

    exited = keeper.hear_of("1.1.0", "exited")

    assert exited["cause"] == "cancelled"
    assert not alive("sleep\0985.3")


def test_pause_stops_the_tree_and_resume_lets_it_go_on(keeper: Keeper) -> None:
    """A paused task does nothing, in none of its processes, until it is resumed."""
    keeper.start("1.1.0", "sh", "-c", "setsid sleep 0.9841 & wait; echo done")
    sleeper = wait_for(lambda: alive("sleep\0000.9841"))[0]
    keeper.say({"type": "signal", "id": "1.1.0", "signal": "pause"})
    wait_for(lambda: "T (stopped)" in Path(f"/proc/{sleeper}/status").read_text())
    time.sleep(1.2)

    assert keeper.out("1.1.0") == ""
    keeper.say({"type": "signal", "id": "1.1.0", "signal": "resume"})
    assert keeper.hear_of("1.1.0", "exited")["code"] == 0


def test_what_ignores_term_is_killed_after_the_grace(keeper: Keeper) -> None:
    """A task that ignores SIGTERM, even a paused one, is gone after the grace period."""
    keeper.start("1.1.0", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    wait_for(lambda: keeper.out("1.1.0"))
    keeper.say({"type": "signal", "id": "1.1.0", "signal": "pause"})
    keeper.say({"type": "signal", "id": "1.1.0", "signal": "term", "grace": 0.3})

    assert keeper.hear_of("1.1.0", "exited")["signal"] == signal.SIGKILL


def test_a_passed_lease_ends_everything(keeper: Keeper) -> None:
    """Without a new lease in time, every task is ended, and the cause is told."""
    keeper.say({"type": "lease", "seconds": 0.3})
    keeper.start("1.1.0", "sleep", "983.5")

    assert keeper.hear_of("1.1.0", "exited")["cause"] == "lease"


def test_the_next_agent_learns_what_is_held(keeper: Keeper) -> None:
    """Tasks outlive their agent; the next one is told of those that run and those that ended."""
    keeper.start("1.1.0", "sh", "-c", "exit 4")
    keeper.start("2.1.0", "sleep", "982.6")
    keeper.hear_of("1.1.0", "exited")
    keeper.hang_up()
    keeper.connect()

    assert keeper.holding["1.1.0"]["code"] == 4
    assert keeper.holding["2.1.0"]["type"] == "started"
    assert keeper.holding["2.1.0"]["note"] == "a room"


def test_killing_the_keeper_buries_everything(keeper: Keeper) -> None:
    """A keeper that is killed takes all its tasks with it, daemons included."""
    keeper.start("1.1.0", "sh", "-c", "setsid sleep 981.7 & sleep 981.7")
    wait_for(lambda: len(alive("sleep\0981.7")) == 2)
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.guardian.wait(10)

    assert not alive("981.7")


def test_the_next_keeper_tells_what_the_one_before_had_started(tmp_path: Path) -> None:
    """Records survive the keeper: ends as they were, starts without an end as vanished."""
    first = Keeper(tmp_path)
    first.start("1.1.0", "sh", "-c", "exit 4")
    first.hear_of("1.1.0", "exited")
    first.start("2.1.0", "sleep", "980.8")
    wait_for(lambda: alive("sleep\000980.8"))
    first.close()
    second = Keeper(tmp_path)
    try:
        assert second.holding["1.1.0"]["code"] == 4
        assert second.holding["2.1.0"]["type"] == "vanished"
        second.start("2.1.0", "true")
        assert second.hear_of("2.1.0", "vanished")
        second.say({"type": "forget", "ids": ["1.1.0", "2.1.0"]})
        second.start("3.1.0", "true")
        second.hear_of("3.1.0", "exited")
    finally:
        second.close()


def test_leftovers_of_a_killed_pair_are_ended_by_the_next(tmp_path: Path) -> None:
    """Should keeper and guardian both be killed, the next keeper ends their tasks first."""
    first = Keeper(tmp_path)
    env = {"PATH": "/usr/bin:/bin", "PYTQ_TASK": "1", "INPUT": f"{tmp_path}/rooms/1/input"}
    first.start("1.1.0", "sleep", "979.9", env=env)
    wait_for(lambda: alive("sleep\000979.9"))
    first.guardian.kill()
    first.close()
    assert alive("979.9")
    second = Keeper(tmp_path)

    wait_for(lambda: not alive("979.9"), 2)
    second.close()


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\n", b"[]\n", b'{"type":"start"}\n', b'{"type":"nonsense"}\n', b"\n"]
)
def test_nonsense_does_no_harm(keeper: Keeper, line: bytes) -> None:
    """A line that makes no sense is answered, and the keeper goes on."""
    keeper.socket.sendall(line)

    assert keeper.hear()["type"] == "bad"
    keeper.start("1.1.0", "true")
    keeper.hear_of("1.1.0", "exited")


def test_half_a_log_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """A log that was cut off or scribbled into does not stop the next keeper."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "keeper.log").write_text(
        f'{{"type":"boot","boot":"{boot}"}}\n\x00\x01\n{{"type":"start","id":"7.1.0","note":""}}\n'
        '{"type":"exited","id":"7.'
    )
    one = Keeper(tmp_path)

    assert one.holding["7.1.0"]["type"] == "vanished"
    one.close()


def test_shutdown_with_kill_leaves_nothing(keeper: Keeper) -> None:
    """Told to shut down and kill, it tells all ends and leaves no process or socket."""
    keeper.start("1.1.0", "sh", "-c", "setsid sleep 978.1 & sleep 978.1")
    wait_for(lambda: len(alive("sleep\0978.1")) == 2)
    keeper.say({"type": "shutdown", "kill": True, "grace": 1})

    assert keeper.hear_of("1.1.0", "exited")["cause"] == "stopped"
    assert keeper.guardian.wait(10) == 0
    assert not alive("978.1")
    assert not (keeper.home / "keeper.sock").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_a_task_can_run_as_another_user(keeper: Keeper) -> None:
    """With uid and gid given, the task runs as them, in no other group."""
    keeper.home.chmod(0o755)
    keeper.start("1.1.0", "sh", "-c", "id -u; id -G", uid=12345, gid=12346)

    assert keeper.hear_of("1.1.0", "exited")["code"] == 0
    assert keeper.out("1.1.0").split() == ["12345", "12346"]


def test_queued_starts_take_free_slots_in_order(keeper: Keeper) -> None:
    """What is queued starts by itself when a slot is free, never more at once than slots."""
    keeper.say({"type": "slots", "count": 2})
    log = keeper.home / "room" / "log"
    for number in range(1, 9):
        script = f"echo +{number} >> {log}; sleep 0.05; echo -{number} >> {log}"
        keeper.start(f"{number}.1.0", "sh", "-c", script, ahead=True)
    for _ in range(8):
        assert keeper.hear()["type"] == "exited"

    running, most, order = 0, 0, []
    for word in log.read_text().split():
        running += 1 if word[0] == "+" else -1
        most = max(most, running)
        order += [int(word[1:])] if word[0] == "+" else []
    assert most == 2
    assert sorted(order[:2]) == [1, 2]
    assert sorted(order) == list(range(1, 9))


def test_queued_starts_can_be_withdrawn(keeper: Keeper) -> None:
    """What has not started can be had back; what has is told as started."""
    keeper.say({"type": "slots", "count": 1})
    keeper.start("1.1.0", "sleep", "970.1", ahead=True)
    keeper.start("2.1.0", "true", ahead=True)
    wait_for(lambda: alive("sleep\000970.1"))
    keeper.say({"type": "withdraw", "ids": ["1.1.0", "2.1.0"]})

    assert keeper.hear() == {"type": "withdrawn", "ids": ["2.1.0"]}
    assert keeper.hear()["type"] == "started"
    keeper.say({"type": "signal", "id": "1.1.0", "signal": "kill"})
    keeper.hear_of("1.1.0", "exited")


def test_a_passed_lease_empties_the_queue(keeper: Keeper) -> None:
    """Nothing is started any more once the server has not been heard for too long."""
    keeper.say({"type": "slots", "count": 1}, {"type": "lease", "seconds": 0.3})
    keeper.start("1.1.0", "sleep", "969.1", ahead=True)
    keeper.start("2.1.0", "true", ahead=True)

    assert keeper.hear() == {"type": "withdrawn", "ids": ["2.1.0"]}
    assert keeper.hear()["cause"] == "lease"
