# @TEST-DOC: Askers, questions, answers and bytes, row by row; customers' networks; a forwarder seen asking another host.
# @TEST-EXEC: zeek -C -r $TRACES/open-host.pcap $PACKAGE/open-resolver.zeek %INPUT
# @TEST-EXEC: canonify-log <dnsvigil_open_resolver.log | sort >rows
# @TEST-EXEC: btest-diff rows

redef Site::private_address_space_is_local = F;
redef DNSVigilOpenResolver::networks = { 203.0.113.0/24 };
