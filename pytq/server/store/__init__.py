"""Where SQLAlchemy lives, and nowhere else: tables, verbs (one transaction each), migrations.

A verb is a plain function of a connection and values: it never looks at a clock, touches no memory
of the server's, and so can be run again when its transaction has to be. It does not know whether it
runs in a thread (SQLite) or on a greenlet over asyncpg (PostgreSQL).
"""
