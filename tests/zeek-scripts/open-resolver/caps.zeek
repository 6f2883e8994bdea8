# @TEST-DOC: Hosts and questions beyond the caps are refused and counted.
# @TEST-EXEC: zeek -C -r $TRACES/open-hosts.pcap $PACKAGE/open-resolver.zeek %INPUT >output
# @TEST-EXEC: canonify-log <dnsvigil_open_resolver.log | sort >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: btest-diff output

redef Site::local_nets = { 198.51.100.0/24 };
redef Site::private_address_space_is_local = F;
redef DNSVigilOpenResolver::max_hosts = 1;
redef DNSVigilOpenResolver::max_questions = 2;

event zeek_done()
	{
	print "refused", DNSVigil::dropped_open_resolver;
	}
