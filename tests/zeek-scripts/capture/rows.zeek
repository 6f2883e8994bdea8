# @TEST-DOC: A row an interval, and one at the end for the rest; the sums are those of the capture.
# @TEST-EXEC: zeek -C -r $TRACES/rows.pcap $PACKAGE/capture.zeek %INPUT
# @TEST-EXEC: columns dnsvigil_capture.log ts node interval packets packets_dropped link_packets bytes dns_queries dns_responses unmatched_queries unmatched_responses malformed dropped_pdns >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: test ! -e reporter.log

redef DNSVigilCapture::log_interval = 1hr;
