"""How things are said, and what is made harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytq.schema.tasks import Step, TaskSpec
from pytq.tui import cells, words
from pytq.tui.cells import Bar, Span, draw


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain text, [bold]not markup[/]", "plain text, [bold]not markup[/]"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]52;c;aGFjaw==\x07paste", "paste"),
        ("\x1b]0;title\x1b\\after", "after"),
        ("a\nb\tc", "a⏎b c"),
        ("bell\x07 null\x00 c1\x9b2J", "bell· null· c1"),
        ("rtl\u202e zero\u200b", "rtl· zero·"),
        ("lone \x1b", "lone ·"),
    ],
)
def test_clean(given: str, shown: str) -> None:
    """Text from outside becomes one line in which nothing can act on the terminal."""
    assert words.clean(given) == shown


@given(st.text())
def test_nothing_unprintable_is_left(text: str) -> None:
    """Whatever comes, what is shown is printable."""
    assert words.clean(text).isprintable()
    assert words.clean_line(text.replace("\n", "")).isprintable()


def test_a_progress_bar_shows_its_last_state() -> None:
    """What a carriage return has overwritten is not shown; tabs are."""
    assert words.clean_line("10%\r20%\r\x1b[K30%\r") == "30%"
    assert words.clean_line("a\tb") == "a       b"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.0k"),
        (12_345, "12.3k"),
        (1_234_567, "1.2M"),
        (2e9, "2.0G"),
    ],
)
def test_short(amount: float, shown: str) -> None:
    """A large count fits into five cells."""
    assert words.short(amount) == shown
    assert len(shown) <= 5


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (42, "42 s"),
        (185, "3m 05s"),
        (7_800, "2h 10m"),
        (356_400, "4d 3h"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    """A duration is said with the two units that matter."""
    assert words.duration(seconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"), [(0, "0 B"), (512, "512 B"), (3.4 * 1024**3, "3.4 GiB"), (5e13, "45 TiB")]
)
def test_size(amount: float, shown: str) -> None:
    """Bytes are said in the unit that people read."""
    assert words.size(amount) == shown


def test_percent_tells_something_from_nothing() -> None:
    """100% means all of it, and a little is never 0%."""
    assert [words.percent(share) for share in (0, 0.001, 0.5, 0.999, 1)] == [
        "0%",
        "<1%",
        "50%",
        "99%",
        "100%",
    ]


def test_plural() -> None:
    """One task, two batches."""
    assert words.plural(1, "task") == "1 task"
    assert words.plural(1_200, "batch") == "1,200 batches"


def test_a_command_reads_as_the_shell_would_take_it() -> None:
    """Words are quoted where a shell needs that; a script is shown as it is."""
    spec = TaskSpec(steps=[Step(command=["echo", "two words"]), Step(command="ls | wc")])
    assert words.command(spec) == "echo 'two words' ; ls | wc"


shares = st.lists(st.floats(0, 1), min_size=1, max_size=5)


@given(shares, st.integers(1, 60))
def test_a_bar_is_as_wide_as_its_column(amounts: list[float], width: int) -> None:
    """However its parts are rounded, a bar fills its column and no more."""
    whole = max(1.0, sum(amounts))
    tones: list[cells.Tone] = ["good", "bad", "odd", "busy", "wait"]
    bar = Bar(tuple((share / whole, tone) for share, tone in zip(amounts, tones, strict=False)))
    assert sum(len(span.text) for span in draw(bar, width)) == width


def test_a_single_failure_of_many_shows_in_the_bar() -> None:
    """Whatever there is of something takes at least a cell, with a pattern of its own."""
    drawn = draw(Bar(((0.99999, "good"), (0.00001, "bad"))), 20)
    assert Span("▒", "bad") in drawn
