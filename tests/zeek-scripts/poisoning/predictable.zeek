# @TEST-DOC: Ids and ports that count up are predictable, others are not; resolvers are found by how they ask.
# @TEST-EXEC: zeek -C -r $TRACES/predictable.pcap $PACKAGE/poisoning %INPUT
# @TEST-EXEC: canonify-log <dnsvigil_poisoning.log | sort >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: sort notices >sorted
# @TEST-EXEC: btest-diff sorted

redef Site::local_nets = { 203.0.113.0/24 };

global notices = open("notices");

hook Notice::notice(n: Notice::Info)
	{
	print notices, n$note, n$msg, n$src;
	}
