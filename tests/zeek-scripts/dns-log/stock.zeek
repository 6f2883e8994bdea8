# @TEST-DOC: What dns.log says without the package it says with it.
# @TEST-EXEC: for trace in sizes unasked malformed; do stock-columns $TRACES/$trace.pcap || exit 1; done >output 2>&1
# @TEST-EXEC: btest-diff output
