# @TEST-DOC: A host that relays to a resolver outside is a forwarder; those that a scanner asks in the same words are not.
# @TEST-EXEC: zeek -C -r $TRACES/relay.pcap $PACKAGE/open-resolver.zeek %INPUT
# @TEST-EXEC: canonify-log <dnsvigil_open_resolver.log | sort >rows
# @TEST-EXEC: btest-diff rows

redef Site::local_nets = { 203.0.113.0/24 };
redef Site::private_address_space_is_local = F;
