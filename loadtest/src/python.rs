//! Independent clients in Python.
