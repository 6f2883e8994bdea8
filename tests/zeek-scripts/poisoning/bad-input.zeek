# @TEST-DOC: Malformed messages and captures of one direction: no script error and no Notice.
# @TEST-EXEC: for trace in malformed queries-only responses-only names unasked sizes local; do zeek -C -r $TRACES/$trace.pcap $PACKAGE/poisoning $PACKAGE/open-resolver.zeek %INPUT && echo $trace && test ! -e reporter.log && test ! -e notice.log && if test -e dnsvigil_poisoning.log; then canonify-log <dnsvigil_poisoning.log | cut -f 4,7-19 | sort; fi || exit 1; rm -f *.log; done >output
# @TEST-EXEC: btest-diff output

redef DNSVigilPoisoning::resolvers = { 198.51.100.7/32, [2001:db8:c::7]/128 };
redef Site::private_address_space_is_local = F;
