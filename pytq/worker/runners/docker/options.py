"""What a task may ask of `docker run`: options as people type them, read into a container's config.

Pure. Each option of `docker run` is in one of three tables: those that anybody may use, those
that reach out of the container and so need the operator's word, and those that PYTQ decides.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?", re.IGNORECASE)
UNITS: Final = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
LABEL_PREFIX: Final = "pytq."
BILLION: Final = 10**9


class OptionError(ValueError):
    """Why an option cannot be used; the text names it and says what to do."""


@dataclass(slots=True)
class Choices:
    """What a step's options ask for, in the words of Docker's API."""

    config: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)  # its HostConfig
    env: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    platform: str | None = None
    grace: float | None = None  # seconds between SIGTERM and SIGKILL


Reader = Callable[[Choices, str], None]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: what it does, and whether it stands alone, as `--init` does."""

    read: Reader
    alone: bool = False


def parse(words: Sequence[str], allowed: Collection[str] = ()) -> Choices:
    """Read the words of a step's `container_options`; `OptionError` for what may not be.

    `allowed` names the guarded options that this worker's operator permits.
    """
    choices = Choices()
    for name, value in _pairs(words):
        option = KNOWN[name]
        if _is_guarded(name, value) and name not in allowed:
            raise OptionError(
                f"--{name}{f'={value}' if name in BY_VALUE else ''} reaches out of the container;"
                f" this worker would allow it if started with --allow-docker-option {name}"
            )
        try:
            option.read(choices, value)
        except OptionError:
            raise
        except ValueError as error:
            raise OptionError(f"--{name}={value}: {error}") from error
    return choices


def name_of(text: str) -> str:
    """The long name of an option however it is written; `OptionError` when it is none we know."""
    name = SHORT.get(text.lstrip("-"), text.lstrip("-"))
    if name in KNOWN:
        return name
    if name in NEVER:
        raise OptionError(f"--{name} is not for a task to set: {NEVER[name]}")
    known = ", ".join(f"--{one}" for one in sorted(FREE))
    raise OptionError(
        f"{text} is none of the options that PYTQ passes to docker; these are: {known}"
    )


def guarded_name(text: str) -> str:
    """The long name of an option that is guarded, or is for some of its values."""
    name = SHORT.get(text.lstrip("-"), text.lstrip("-"))
    guarded = GUARDED.keys() | BY_VALUE.keys()
    if name in guarded:
        return name
    if name in FREE:
        raise OptionError(f"--{name} needs no permission: every task may use it")
    known = ", ".join(sorted(guarded))
    raise OptionError(f"{text} is none of the options that can be allowed; these are: {known}")


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names with their values, from `--a=b`, `--a b`, `-ab`, `-a=b` and `-a b`."""
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if not word.startswith("-") or any(blank in flag for blank in " \t\n"):
            raise OptionError(f"{word!r} is not an option; write one as --shm-size=2g")
        if not word.startswith("--") and len(flag) > len("-m"):  # -m2g
            flag, equals, value = word[:2], "=", word[2:]
        name = name_of(flag)
        if KNOWN[name].alone:
            if equals and value not in ("true", "false"):
                raise OptionError(f"--{name} takes no value")
            if value != "false":
                yield name, ""
            continue
        if not equals:
            value = next(rest, "")
        if not value and name != "entrypoint":
            raise OptionError(f"--{name} needs a value, as in --{name}=…")
        yield name, value


# --- how values are read


def size(text: str) -> int:
    """Bytes of `512m` or `2g`; -1 is no limit."""
    match = SIZE.fullmatch(text)
    if match is None:
        raise ValueError("write a size as 512m or 2g")
    return int(float(match[1]) * UNITS[match[2].lower()])


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("write a whole number") from None


def _cpus(text: str) -> int:
    try:
        return int(float(text) * BILLION)
    except ValueError:
        raise ValueError("write a number of CPUs, as 2 or 1.5") from None


def _swap(text: str) -> int:
    return -1 if text == "-1" else size(text)


def _seconds(text: str) -> float:
    if not text.isdigit():
        raise ValueError("write seconds, as 30")
    return float(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError("write NAME=VALUE")
    return name, value


def _csv(text: str) -> dict[str, str]:
    import csv

    row = next(csv.reader([text]))
    return {name.strip(): value for name, _, value in (part.partition("=") for part in row)}


# --- what they do


def _set(place: str, key: str, kind: Callable[[str], Any] = str) -> Option:
    def read(choices: Choices, value: str) -> None:
        getattr(choices, place)[key] = kind(value)

    return Option(read)


def _add(place: str, key: str, kind: Callable[[str], Any] = str) -> Option:
    def read(choices: Choices, value: str) -> None:
        getattr(choices, place).setdefault(key, []).append(kind(value))

    return Option(read)


def _switch(key: str) -> Option:
    def read(choices: Choices, value: str) -> None:  # noqa: ARG001 - every reader has this shape
        choices.host[key] = True

    return Option(read, alone=True)


def _read_env(choices: Choices, value: str) -> None:
    if "=" not in value:
        raise ValueError("write NAME=VALUE: nothing of the worker's own environment is passed on")
    name, text = _pair(value)
    choices.env[name] = text


def _read_label(choices: Choices, value: str) -> None:
    name, _, text = value.partition("=")
    if name.startswith(LABEL_PREFIX):
        raise ValueError(f"labels that begin with {LABEL_PREFIX} are PYTQ's own")
    choices.labels[name] = text


def _read_entrypoint(choices: Choices, value: str) -> None:
    choices.config["Entrypoint"] = [value] if value else []


def _read_platform(choices: Choices, value: str) -> None:
    if not re.fullmatch(r"[a-z0-9_]+/[a-z0-9_]+(/[a-z0-9_]+)?", value):
        raise ValueError("write a platform as linux/arm64")
    choices.platform = value


def _read_stop_timeout(choices: Choices, value: str) -> None:
    choices.grace = _seconds(value)


def _read_tmpfs(choices: Choices, value: str) -> None:
    path, _, how = value.partition(":")
    if not path.startswith("/"):
        raise ValueError("write an absolute path, as /scratch:size=1g")
    choices.host.setdefault("Tmpfs", {})[path] = how


def _read_sysctl(choices: Choices, value: str) -> None:
    name, text = _pair(value)
    choices.host.setdefault("Sysctls", {})[name] = text


def _ulimit(text: str) -> dict[str, Any]:
    name, limits = _pair(text)
    soft, _, hard = limits.partition(":")
    return {"Name": name, "Soft": _whole(soft), "Hard": _whole(hard or soft)}


def _host_entry(text: str) -> str:
    match = re.fullmatch(r"([^:=]+)[:=](.+)", text)
    if match is None:
        raise ValueError("write HOST:ADDRESS")
    return f"{match[1]}:{match[2]}"


def _gpus(text: str) -> dict[str, Any]:
    """As docker reads it: `all`, a count, or `device=0,1` with more after commas in quotes."""
    wanted: dict[str, Any] = {"Driver": "", "Count": 0, "Capabilities": [["gpu"]], "Options": {}}
    if text.startswith("device="):
        return wanted | {"DeviceIDs": text.removeprefix("device=").split(",")}
    for name, value in _csv(text).items():
        if not value:
            name, value = "count", name  # noqa: PLW2901 - a bare word is a count
        if name == "count":
            wanted["Count"] = -1 if value == "all" else _whole(value)
        elif name == "device":
            wanted["DeviceIDs"] = value.split(",")
        elif name == "driver":
            wanted["Driver"] = value
        elif name == "capabilities":
            wanted["Capabilities"] = [["gpu", *value.split(",")]]
        else:
            raise ValueError("write all, a count, or device=0,1")
    return wanted


def _device(text: str) -> dict[str, str]:
    outside, inside, rights = [*text.split(":"), "", ""][:3]
    if inside and re.fullmatch("[rwm]+", inside):
        inside, rights = "", inside
    return {
        "PathOnHost": outside,
        "PathInContainer": inside or outside,
        "CgroupPermissions": rights or "rwm",
    }


def _mount(text: str) -> dict[str, Any]:
    parts = _csv(text)
    source = parts.get("source") or parts.get("src") or ""
    target = parts.get("target") or parts.get("destination") or parts.get("dst") or ""
    if not target.startswith("/"):
        raise ValueError("write type=bind,source=/host/path,target=/path")
    read_only = "readonly" in parts or parts.get("ro") in ("", "true", "1")
    kind = parts.get("type", "volume")
    return {"Type": kind, "Source": source, "Target": target, "ReadOnly": read_only}


FREE: Final[dict[str, Option]] = {
    "add-host": _add("host", "ExtraHosts", _host_entry),
    "cap-drop": _add("host", "CapDrop"),
    "cpu-shares": _set("host", "CpuShares", _whole),
    "cpus": _set("host", "NanoCpus", _cpus),
    "cpuset-cpus": _set("host", "CpusetCpus"),
    "cpuset-mems": _set("host", "CpusetMems"),
    "dns": _add("host", "Dns"),
    "dns-option": _add("host", "DnsOptions"),
    "dns-search": _add("host", "DnsSearch"),
    "domainname": _set("config", "Domainname"),
    "entrypoint": Option(_read_entrypoint),
    "env": Option(_read_env),
    "gpus": _add("host", "DeviceRequests", _gpus),
    "group-add": _add("host", "GroupAdd"),
    "hostname": _set("config", "Hostname"),
    "init": _switch("Init"),
    "ipc": _set("host", "IpcMode"),
    "label": Option(_read_label),
    "memory": _set("host", "Memory", size),
    "memory-reservation": _set("host", "MemoryReservation", size),
    "memory-swap": _set("host", "MemorySwap", _swap),
    "network": _set("host", "NetworkMode"),
    "pids-limit": _set("host", "PidsLimit", _whole),
    "platform": Option(_read_platform),
    "read-only": _switch("ReadonlyRootfs"),
    "shm-size": _set("host", "ShmSize", size),
    "stop-timeout": Option(_read_stop_timeout),
    "tmpfs": Option(_read_tmpfs),
    "ulimit": _add("host", "Ulimits", _ulimit),
    "user": _set("config", "User"),
    "workdir": _set("config", "WorkingDir"),
}

# Whoever may use one of these can be root on the worker's machine, or harm others there.
GUARDED: Final[dict[str, Option]] = {
    "cap-add": _add("host", "CapAdd"),
    "cgroup-parent": _set("host", "CgroupParent"),
    "cgroupns": _set("host", "CgroupnsMode"),
    "device": _add("host", "Devices", _device),
    "device-cgroup-rule": _add("host", "DeviceCgroupRules"),
    "mount": _add("host", "Mounts", _mount),
    "oom-kill-disable": _switch("OomKillDisable"),
    "oom-score-adj": _set("host", "OomScoreAdj", _whole),
    "pid": _set("host", "PidMode"),
    "privileged": _switch("Privileged"),
    "runtime": _set("host", "Runtime"),
    "security-opt": _add("host", "SecurityOpt"),
    "sysctl": Option(_read_sysctl),
    "userns": _set("host", "UsernsMode"),
    "uts": _set("host", "UTSMode"),
    "volume": _add("host", "Binds"),
    "volumes-from": _add("host", "VolumesFrom"),
}

# Free options that are guarded for some of their values.
BY_VALUE: Final = {
    "network": re.compile(r"host|container:.*"),
    "ipc": re.compile(r"host|container:.*"),
}

NEVER: Final = {
    "attach": "PYTQ collects both output streams",
    "cidfile": "ask PYTQ for the task instead",
    "detach": "PYTQ waits for the container itself",
    "env-file": "give variables with --env NAME=VALUE",
    "health-cmd": "a task ends by itself; there is nothing to check",
    "interactive": "nobody sits at a task; give a step `stdin`",
    "label-file": "give labels with --label",
    "log-driver": "PYTQ needs the output exactly as it is",
    "log-opt": "PYTQ needs the output exactly as it is",
    "name": "PYTQ names containers itself",
    "publish": "nobody calls a task from outside",
    "pull": "PYTQ pulls an image when it is not there",
    "restart": "PYTQ tries again by itself; set the task's retries",
    "rm": "PYTQ removes containers itself, once their outcome is safe",
    "stop-signal": "PYTQ sends SIGTERM first",
    "tty": "it would mix both output streams",
}

KNOWN: Final = FREE | GUARDED
SHORT: Final = {
    "a": "attach",
    "c": "cpu-shares",
    "d": "detach",
    "e": "env",
    "h": "hostname",
    "i": "interactive",
    "l": "label",
    "m": "memory",
    "net": "network",
    "p": "publish",
    "t": "tty",
    "u": "user",
    "v": "volume",
    "w": "workdir",
}


def _is_guarded(name: str, value: str) -> bool:
    return name in GUARDED or (name in BY_VALUE and bool(BY_VALUE[name].fullmatch(value)))
