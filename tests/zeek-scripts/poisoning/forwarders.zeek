# @TEST-DOC: A host that answers local hosts and asks outside with RD is a resolver; a stub, and one that asks inside, are none.
# @TEST-EXEC: zeek -C -r $TRACES/forwarders.pcap $PACKAGE/poisoning %INPUT
# @TEST-EXEC: grep -v "^#" dnsvigil_poisoning.log | cut -f3,4,7,8 >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: test ! -e reporter.log

redef Site::local_nets = { 203.0.113.0/24 };
# Zeek counts addresses for documentation as local.
redef Site::private_address_space_is_local = F;
