"""A lab that makes real DNS traffic in network namespaces of its own, and replays or imitates it."""
