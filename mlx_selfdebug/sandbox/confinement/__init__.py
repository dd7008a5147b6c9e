"""Confine the sandboxed processes with the means of the operating system. There is one file per mechanism."""
