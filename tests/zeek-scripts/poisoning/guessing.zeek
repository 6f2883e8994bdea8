# @TEST-DOC: Guessing gets a row with the 1st, 10th and 100th wrong answer, what is left at the end, and one Notice.
# @TEST-EXEC: zeek -C -r $TRACES/guessing.pcap $PACKAGE/poisoning %INPUT
# @TEST-EXEC: canonify-log <dnsvigil_poisoning.log | sort >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: btest-diff notices

redef DNSVigilPoisoning::resolvers = { 203.0.113.200/32 };

hook Notice::notice(n: Notice::Info)
	{
	local notices = open("notices");
	print notices, n$note, n$msg, n$sub, n$src, n$dst;
	close(notices);
	}
