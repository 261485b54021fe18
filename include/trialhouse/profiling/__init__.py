"""Measuring finished weights on a hardware class: latency, memory, and what the machine did meanwhile.

Importing this package imports nothing: the process that trials are forked from needs `inference` alone.
"""
