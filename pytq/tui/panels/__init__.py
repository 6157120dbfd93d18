"""What panes show, as lines for a width and a height. Pure."""
