"""Each of these is a program, some of an environment of their own: there is nothing to collect in them."""

collect_ignore_glob = ["*_river.py"]
