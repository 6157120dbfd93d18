"""The cockpit: a terminal application that shows a server and turns its knobs."""
