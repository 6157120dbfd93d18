"""Screens: thin; what they show comes from the pure rooms, what they do from `pytq.tui.acts`."""
