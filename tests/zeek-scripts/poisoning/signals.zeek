# @TEST-DOC: Every sign of poisoning is counted for its resolver and zone, over IPv4 and IPv6, and none is a Notice.
# @TEST-EXEC: zeek -C -r $TRACES/poisoning.pcap $PACKAGE/poisoning %INPUT
# @TEST-EXEC: canonify-log <dnsvigil_poisoning.log | sort >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: test ! -e notice.log
# @TEST-EXEC: test ! -e reporter.log

redef DNSVigilPoisoning::resolvers = { 203.0.113.200/32, [2001:db8:a::200]/128 };
redef DNSVigilPoisoning::storm_names = 5;
