"""Widgets: each owns its looks and its messages, and none asks the server for anything."""
