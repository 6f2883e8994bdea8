# @TEST-DOC: Every part loads and works by itself.
# @TEST-EXEC: for part in main.zeek dns-log.zeek pdns.zeek capture.zeek open-resolver.zeek poisoning; do echo ${part%.zeek} && rm -f *.log && zeek -C -r $TRACES/types.pcap $PACKAGE/$part && ls | grep dnsvigil; test ! -e reporter.log || exit 1; done >output 2>&1
# @TEST-EXEC: btest-diff output
