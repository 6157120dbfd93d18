"""No shell stands between us and a value: what was said is what arrives, byte by byte."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from system import System, running

PYTQ = Path(__file__).parents[2] / "pytq"
FORBIDDEN = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_shell", "create_subprocess_shell", "eval", "exec", "compile"),
    *("pickle.load", "pickle.loads", "marshal.loads", "yaml.load", "shelve.open"),
}
NASTY = [
    *("; touch OUCH", "$(touch OUCH)", "`touch OUCH`", "| touch OUCH", "&& touch OUCH", "> OUCH"),
    *("-rf", "--output=/x", "--", "-", "", " ", "*", "?", "~", "~root", "!!", "#", "\\", "\\n"),
    *('"', "'", "'\"'\"'", "a'b\"c d", "${HOME}", "$HOME", "%s%n", "{{ 7*7 }}", "${{ x }}"),
    *("new\nline", "tab\ttab", "\r", "\x1b]0;title\x07", "\x7f", "\u202egnp", "é", "\U0001f4a3"),
    *("../../etc/passwd", "/etc/passwd", "file:///etc/shadow", "C:\\x", "[bold]", "<script>"),
    *("NULL", "None", "' OR 1=1; DROP TABLE tasks; --"),
]
# What a name may be: printable; and "--" as an option's value argparse keeps for itself.
NAMES = [word for word in NASTY if word.strip() and word.isprintable() and word != "--"]


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_our_code_calls_no_shell() -> None:
    """Nothing of ours starts a shell, or takes data for code."""
    files = sorted(PYTQ.rglob("*.py"))
    found = []
    for path in files:
        for call in calls(ast.parse(path.read_text())):
            shell = [one for one in call.keywords if one.arg == "shell"]
            if ast.unparse(call.func) in FORBIDDEN or shell:
                found.append((str(path), call.lineno, ast.unparse(call)))

    assert len(files) > 100
    assert found == []


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("busy")) as system:
        system.start_worker()
        yield system


def test_words_arrive_as_they_are(busy: System) -> None:
    """From a command line through launch, server, worker and keeper: the same bytes."""
    done = busy.run("launch", "--wait", "--", "printf", r"%s\0", *NASTY)

    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split("\0")[:-1] == NASTY
    assert not list(busy.folder.rglob("OUCH"))


def test_environment_arrives_as_it_is(busy: System) -> None:
    """Values of a task's environment are values and nothing else."""
    options = [word for i, value in enumerate(NASTY) for word in ("-e", f"V{i}={value}")]

    done = busy.run("launch", "--wait", *options, "env", "-0")

    found = dict(each.split("=", 1) for each in done.stdout.decode().split("\0") if each)
    assert [found[f"V{number}"] for number in range(len(NASTY))] == NASTY


def test_names_are_only_names(busy: System) -> None:
    """A name or a tag is shown and searched as it was given, and never run or followed."""
    words = ("launch", "--tag")
    tasks = [
        busy.run(*words, f"k={name}", f"--name={name}", "true").stdout.decode().strip()
        for name in NAMES
    ]
    assert busy.run("launch", "-R", ",".join(tasks), "-w", "true").returncode == 0

    listed = json.loads(busy.run("task", "list", "-l", "1000", "--json").stdout)
    views = {str(view["id"]): view for view in listed}

    assert [views[task]["name"] for task in tasks] == NAMES
    assert [views[task]["tags"]["k"] for task in tasks] == NAMES
    assert {views[task]["status"] for task in tasks} == {"succeeded"}
    assert busy.run("task", "list").returncode == 0
    assert not list(busy.folder.rglob("OUCH"))


def test_files_of_any_name_come_and_go(busy: System, tmp_path: Path) -> None:
    """Inputs and outputs keep their names and bytes, whatever a shell would make of them."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    names = [name for name in NASTY if name.strip() and "/" not in name and name.isprintable()]
    for number, name in enumerate(names):
        (source / name).write_text(str(number))

    done = busy.run(
        *("launch", "--wait", "-i", f"file://{source}/", "-o", f"file://{target}/"),
        *("sh", "-c", 'cp -- "$INPUT"/* "$OUTPUT"/'),
    )

    assert done.returncode == 0, done.stderr
    assert len(names) > 30
    assert [(target / name).read_text() for name in names] == [*map(str, range(len(names)))]
    assert len(list(target.iterdir())) == len(names)
    assert not [path for path in tmp_path.rglob("OUCH") if path.name == "OUCH"]


@pytest.mark.parametrize("name", ["../x", "-rf", "a b", "a;b", "$(id)", "x" * 201, "a/b"])
def test_what_goes_into_paths_is_strict(busy: System, name: str) -> None:
    """Batches, workers and tokens, which stand in addresses, have plain names."""
    for done in (
        busy.run("launch", f"--batch={name}", "true"),
        busy.run("batch", "show", "--", name),
        busy.run("token", "create", "--", name),
        busy.run("worker", busy.address, "1", f"--name={name}"),
    ):
        assert done.returncode
        assert b"Traceback" not in done.stderr
        assert done.stderr.strip()
