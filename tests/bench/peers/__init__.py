"""What a user could take instead, on the same broker and events: each program does the job of `job.py`, and no more.

They are written as their own documentation has it: by_hand.py (aiokafka), faust_river.py, bytewax_river.py,
quix_river.py and Streams.java. Each is given the broker, the access topic, the topic for alerts and a folder, and
prints how many events it is through with. They are spared what the product does besides: the topic is keyed by account
for them, what they commit is at least once, nothing is checked, no time is looked at.
"""
