# @TEST-DOC: Delegations are followed from the root; what lies out of bailiwick is left out; claims are not believed.
# @TEST-EXEC: zeek -C -r $TRACES/delegation.pcap $PACKAGE/pdns.zeek %INPUT
# @TEST-EXEC: columns dnsvigil_pdns.log rrname rrtype rdata section bailiwick count >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: test ! -e reporter.log

redef DNSVigilPDNS::root_servers = { 203.0.113.1 };
