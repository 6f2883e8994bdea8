# @TEST-DOC: Passive DNS can be switched off, and the policy hook decides about each row.
# @TEST-EXEC: zeek -C -r $TRACES/types.pcap $PACKAGE/pdns.zeek DNSVigilPDNS::enabled=F
# @TEST-EXEC: test ! -e dnsvigil_pdns.log
# @TEST-EXEC: zeek -C -r $TRACES/types.pcap $PACKAGE/pdns.zeek %INPUT
# @TEST-EXEC: columns dnsvigil_pdns.log rrtype | sort -u >types
# @TEST-EXEC: btest-diff types

hook DNSVigilPDNS::log_policy(rec: DNSVigilPDNS::Info, id: Log::ID,
    filter: Log::Filter)
	{
	if ( rec$rrtype != "A" )
		break;
	}
