# @TEST-DOC: With room for two tuples no sighting is lost: what makes room is logged, and counted.
# @TEST-EXEC: zeek -C -r $TRACES/rows.pcap $PACKAGE/pdns.zeek $PACKAGE/capture.zeek %INPUT >output
# @TEST-EXEC: columns dnsvigil_pdns.log rrname rrtype rdata section bailiwick ttl_min ttl_max count time_first time_last >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: btest-diff output
# @TEST-EXEC: zeek -C -r $TRACES/delegation.pcap $PACKAGE/pdns.zeek $PACKAGE/capture.zeek %INPUT DNSVigilPDNS::max_delegations=1 >delegations
# @TEST-EXEC: btest-diff delegations

redef DNSVigilPDNS::max_tuples = 2;
redef DNSVigilPDNS::root_servers = { 203.0.113.1 };

global seen = 0;
global dropped = 0;

hook DNSVigilPDNS::log_policy(rec: DNSVigilPDNS::Info, id: Log::ID,
    filter: Log::Filter)
	{
	seen += rec$seen;
	}

hook DNSVigilCapture::log_policy(rec: DNSVigilCapture::Info, id: Log::ID,
    filter: Log::Filter)
	{
	dropped += rec$dropped_pdns;
	}

event zeek_done() &priority=-10
	{
	print fmt("%d sightings, %d made room", seen, dropped);
	}
