# @TEST-DOC: Every table has its cap; what it refuses is counted; what has no zone of its own counts for the resolver.
# @TEST-EXEC: zeek -C -r $TRACES/poisoning.pcap $PACKAGE/poisoning %INPUT >output
# @TEST-EXEC: canonify-log <dnsvigil_poisoning.log | sort >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: btest-diff output
# @TEST-EXEC: zeek -C -r $TRACES/predictable.pcap $PACKAGE/poisoning %INPUT learned.zeek >learned
# @TEST-EXEC: btest-diff learned

redef DNSVigilPoisoning::resolvers = { 203.0.113.200/32 };
redef DNSVigilPoisoning::max_questions = 20;
redef DNSVigilPoisoning::max_zones = 3;
redef DNSVigilPoisoning::max_nxdomain_zones = 0;
redef DNSVigilPoisoning::max_servers = 1;

event zeek_done()
	{
	print "refused", DNSVigil::dropped_poisoning;
	}

# @TEST-START-FILE learned.zeek
redef Site::local_nets = { 203.0.113.0/24 };
redef DNSVigilPoisoning::resolvers -= { 203.0.113.200/32 };
redef DNSVigilPoisoning::max_resolvers = 1;
redef DNSVigilPoisoning::max_questions = 1000;
# @TEST-END-FILE
