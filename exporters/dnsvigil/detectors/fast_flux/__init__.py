"""Names whose addresses change all the time, over hosts in many networks."""
