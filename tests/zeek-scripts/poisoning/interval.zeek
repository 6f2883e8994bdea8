# @TEST-DOC: What is left of a zone and of the resolver is written when the interval ends; all rows together are the same.
# @TEST-EXEC: zeek -C -r $TRACES/poisoning.pcap $PACKAGE/poisoning %INPUT
# @TEST-EXEC: canonify-log <dnsvigil_poisoning.log | sort >rows
# @TEST-EXEC: btest-diff rows

redef DNSVigilPoisoning::resolvers = { 203.0.113.200/32 };
redef DNSVigilPoisoning::log_interval = 1sec;
redef table_expire_interval = 0.1sec;
