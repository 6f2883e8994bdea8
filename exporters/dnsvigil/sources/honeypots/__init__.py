"""The logs of honeypots, Cowrie's and Dionaea's: what attackers did, and where they fetch their programs."""
