# @TEST-DOC: Sizes, types of answers, EDNS and extended errors, over UDP and TCP, IPv4 and IPv6.
# @TEST-EXEC: zeek -C -r $TRACES/sizes.pcap $PACKAGE/dns-log.zeek
# @TEST-EXEC: columns dns.log query proto query_bytes response_bytes answer_types edns_udp_size do ede >rows
# @TEST-EXEC: test ! -e reporter.log
# @TEST-EXEC: btest-diff rows
