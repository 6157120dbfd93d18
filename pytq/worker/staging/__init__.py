"""How inputs come and outputs go: one file per URI scheme."""
