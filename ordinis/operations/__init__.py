"""The other programs: started, stopped and asked from outside.

`processes` starts a program so that it outlives whoever started it and stops it with all its children, `stack` is the
list of programs that make up a running Ordinis, `environments` says what each of them may know, and `prefect_api` asks
the Prefect server over HTTP. Neither Prefect nor Ray is imported here: the command line stays light, and works when
they do not.
"""
