# @TEST-DOC: The lab's open hosts, of four kinds, and none of those that only look like some.
# @TEST-EXEC: zeek -C -r $TRACES/open-hosts.pcap $PACKAGE/open-resolver.zeek %INPUT
# @TEST-EXEC: canonify-log <dnsvigil_open_resolver.log | sort >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: test ! -e reporter.log
# @TEST-EXEC: sort notices >sorted
# @TEST-EXEC: btest-diff sorted

redef Site::local_nets = { 198.51.100.0/24 };
redef Site::private_address_space_is_local = F;
redef DNSVigilOpenResolver::public_resolvers = { 198.51.100.11/32 };

global notices = open("notices");

hook Notice::notice(n: Notice::Info)
	{
	print notices, n$note, n$msg, n$src;
	}
