# @TEST-DOC: Malformed messages over UDP and TCP: counted, no script error, and nothing of them in passive DNS but what came before the fault.
# @TEST-EXEC: zeek -C -r $TRACES/malformed.pcap $PACKAGE
# @TEST-EXEC: columns dnsvigil_capture.log interval packets packets_dropped link_packets bytes dns_queries dns_responses unmatched_queries unmatched_responses malformed dropped_pdns >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: columns dnsvigil_pdns.log rrname rrtype rdata >tuples
# @TEST-EXEC: btest-diff tuples
# @TEST-EXEC: test ! -e reporter.log
