"""The server wing: decides (`rules`), keeps (`store`), speaks (`api`, `link`)."""
