"""Where SQLAlchemy lives, and nowhere else: tables, verbs (one transaction each), migrations.

A verb is an async function of a connection and plain values: it never looks at a clock, touches
no memory of the server's, and so can be run again when its transaction has to be.
"""
