# @TEST-DOC: Only what answers a question counts, and multicast DNS, LLMNR and NetBIOS names do not.
# @TEST-EXEC: zeek -C -r $TRACES/unasked.pcap $PACKAGE/pdns.zeek
# @TEST-EXEC: columns dnsvigil_pdns.log rrname rrtype rdata section bailiwick ttl_min ttl_max count time_first time_last >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: rm dnsvigil_pdns.log
# @TEST-EXEC: zeek -C -r $TRACES/local.pcap $PACKAGE/pdns.zeek
# @TEST-EXEC: test -e dns.log -a ! -e dnsvigil_pdns.log -a ! -e reporter.log
