# @TEST-DOC: The data of every type in presentation form; types that Zeek does not decode by number; no NSEC.
# @TEST-EXEC: zeek -C -r $TRACES/types.pcap $PACKAGE/pdns.zeek
# @TEST-EXEC: columns dnsvigil_pdns.log rrname rrtype rdata section ttl_min count >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: test ! -e reporter.log
