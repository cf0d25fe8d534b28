"""Tests of a real server over real sockets, with its own private PostgreSQL."""
