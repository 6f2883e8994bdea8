# @TEST-DOC: Captures of one direction, and of both: which half is missing; local names count as no DNS.
# @TEST-EXEC: for trace in queries-only responses-only unasked local; do zeek -C -r $TRACES/$trace.pcap $PACKAGE/capture.zeek && echo $trace && columns dnsvigil_capture.log interval packets packets_dropped link_packets bytes dns_queries dns_responses unmatched_queries unmatched_responses malformed dropped_pdns && test ! -e reporter.log || exit 1; done >output
# @TEST-EXEC: btest-diff output
