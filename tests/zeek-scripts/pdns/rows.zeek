# @TEST-DOC: A row at first sight, then one an interval with what came since, and the rest at the end.
# @TEST-EXEC: zeek -C -r $TRACES/rows.pcap $PACKAGE/pdns.zeek %INPUT
# @TEST-EXEC: columns dnsvigil_pdns.log ts rrname rrtype rdata section bailiwick ttl_min ttl_max count time_first time_last >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: columns dnsvigil_pdns.log node | sort -u >nodes
# @TEST-EXEC: btest-diff nodes
# @TEST-EXEC: test ! -e reporter.log

redef DNSVigilPDNS::log_interval = 30min;
