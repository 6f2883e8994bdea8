# @TEST-DOC: Wrong answers that are no more than twice the right ones, as a lossy tap shows them, are no Notice.
# @TEST-EXEC: zeek -C -r $TRACES/poisoning.pcap $PACKAGE/poisoning %INPUT
# @TEST-EXEC: test ! -e notice.log
# @TEST-EXEC: zeek -C -r $TRACES/poisoning.pcap $PACKAGE/poisoning %INPUT DNSVigilPoisoning::guesses=2
# @TEST-EXEC: grep -o "[0-9]* answers for .* were right" notice.log >notices
# @TEST-EXEC: btest-diff notices

redef DNSVigilPoisoning::resolvers = { 203.0.113.200/32 };
redef DNSVigilPoisoning::guesses = 3;
