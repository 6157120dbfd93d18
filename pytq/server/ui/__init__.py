"""The cockpit in the browser, at `/ui/`: for each visitor a `pytq tui` of its own, shown there.

What a browser needs for that (a terminal in JavaScript, its fonts) comes with textual-serve, and
the page with this package; nothing is asked of any other host.
"""
