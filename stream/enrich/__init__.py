"""What is known from elsewhere of who an event names and where it came from, filled in before the pipeline; off unless
it is configured.

`enricher` has the flow, block by block; `places` knows addresses, by name and from `mmdb` files; `directory` knows
accounts, and `identity` who has several names; `clients` knows user agents; `distinct` asks each of them once for a
name; `watched` reads their files, and reads them again.
"""
