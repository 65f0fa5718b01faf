"""Linux as a node of a cluster uses it: networks of pods, volumes as directories, namespaces, control groups.

What runtimes share that run pods on this very machine. Everything here is found again after a crash by its name, and
is safe to do twice.
"""
