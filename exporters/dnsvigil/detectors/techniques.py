"""The techniques of MITRE ATT&CK (Enterprise, attack.mitre.org) that findings name: number and name.

A finding has the one that fits under ``technique`` in its evidence, or none.
"""

from typing import Final

ADVERSARY_IN_THE_MIDDLE: Final = "T1557 Adversary-in-the-Middle"
BRUTE_FORCE: Final = "T1110 Brute Force"
COMPROMISED_DNS_SERVER: Final = "T1584.002 Compromise Infrastructure: DNS Server"
DNS_COMMANDS: Final = "T1071.004 Application Layer Protocol: DNS"
EXFILTRATION: Final = "T1048 Exfiltration Over Alternative Protocol"
FAST_FLUX: Final = "T1568.001 Dynamic Resolution: Fast Flux DNS"
GATHER_DNS: Final = "T1590.002 Gather Victim Network Information: DNS"
GENERATED_DOMAINS: Final = "T1568.002 Dynamic Resolution: Domain Generation Algorithms"
REFLECTION: Final = "T1498.002 Network Denial of Service: Reflection Amplification"
REMOTE_SYSTEM_DISCOVERY: Final = "T1018 Remote System Discovery"
SERVICE_EXHAUSTION: Final = "T1499.002 Endpoint Denial of Service: Service Exhaustion Flood"
TUNNELING: Final = "T1572 Protocol Tunneling"
