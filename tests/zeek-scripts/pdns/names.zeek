# @TEST-DOC: Names and data of any bytes, in both forms of the log; data that is too long is refused and counted.
# @TEST-EXEC: zeek -C -r $TRACES/names.pcap $PACKAGE/pdns.zeek $PACKAGE/capture.zeek
# @TEST-EXEC: columns dnsvigil_pdns.log rrname rrtype rdata >rows
# @TEST-EXEC: btest-diff rows
# @TEST-EXEC: columns dnsvigil_capture.log dropped_pdns >dropped
# @TEST-EXEC: btest-diff dropped
# @TEST-EXEC: test ! -e reporter.log
# @TEST-EXEC: zeek -C -r $TRACES/names.pcap $PACKAGE/pdns.zeek LogAscii::use_json=T
# @TEST-EXEC: grep -o '"rrname.*"section' dnsvigil_pdns.log >json
# @TEST-EXEC: btest-diff json
