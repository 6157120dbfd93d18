"""A dark and a light theme whose states stay apart for the colour-blind (after Okabe and Ito)."""

from typing import Final

from textual.theme import Theme

DARK: Final = Theme(
    name="pytq-dark",
    dark=True,
    primary="#5BB8F0",
    secondary="#C79BE0",
    accent="#F0B840",
    success="#3CC79C",
    error="#FF7B54",
    warning="#F0B840",
    foreground="#D6DEE8",
    background="#0E131A",
    surface="#141B24",
    panel="#1F2A37",
    variables={
        "busy": "#5BB8F0",
        "wait": "#9DB2C9",
        "odd": "#C79BE0",
        "dim": "#71849A",
        "edge": "#2C3A4B",
        "cursor": "#24405A",
        "border": "#5BB8F0",
        "block-cursor-background": "#24405A",
        "block-cursor-foreground": "#FFFFFF",
        "input-selection-background": "#5BB8F0 35%",
        "scrollbar": "#2C3A4B",
        "scrollbar-hover": "#3B4E64",
        "scrollbar-active": "#5BB8F0",
        "scrollbar-background": "#0E131A",
        "scrollbar-background-hover": "#0E131A",
        "scrollbar-background-active": "#0E131A",
        "scrollbar-corner-color": "#0E131A",
    },
)

LIGHT: Final = Theme(
    name="pytq-light",
    dark=False,
    primary="#0064A8",
    secondary="#84408C",
    accent="#8A5A00",
    success="#00745A",
    error="#B83A08",
    warning="#8A5A00",
    foreground="#1F2933",
    background="#FCFCFA",
    surface="#F3F4F1",
    panel="#E3E6E3",
    variables={
        "busy": "#0064A8",
        "wait": "#4C6278",
        "odd": "#84408C",
        "dim": "#6A7885",
        "edge": "#C6CDD2",
        "cursor": "#CFE3F4",
        "border": "#0064A8",
        "block-cursor-background": "#CFE3F4",
        "block-cursor-foreground": "#1F2933",
        "input-selection-background": "#0064A8 25%",
        "scrollbar": "#C6CDD2",
        "scrollbar-hover": "#A9B4BC",
        "scrollbar-active": "#0064A8",
        "scrollbar-background": "#FCFCFA",
        "scrollbar-background-hover": "#FCFCFA",
        "scrollbar-background-active": "#FCFCFA",
        "scrollbar-corner-color": "#FCFCFA",
    },
)

THEMES: Final = {theme.name: theme for theme in (DARK, LIGHT)}


def colour(theme: Theme, name: str) -> str:
    """A colour of a theme of ours, by the name that its CSS uses."""
    found = theme.variables.get(name) or getattr(theme, name)
    return str(found)
