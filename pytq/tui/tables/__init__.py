"""What each table shows: columns, and how a thing becomes a row. Pure."""
