"""One file per step of the schema, in order; none is ever changed after a release."""
