# @TEST-DOC: Every part loads and works by itself.
# @TEST-EXEC: for part in main dns-log pdns capture open-resolver poisoning; do echo $part && rm -f *.log && zeek -C -r $TRACES/types.pcap $PACKAGE/$part.zeek && ls | grep dnsvigil; test ! -e reporter.log || exit 1; done >output 2>&1
# @TEST-EXEC: btest-diff output
