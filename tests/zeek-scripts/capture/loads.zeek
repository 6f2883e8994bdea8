# @TEST-DOC: The package loads with nothing else, and says nothing.
# @TEST-EXEC: zeek $PACKAGE %INPUT >output 2>&1
# @TEST-EXEC: btest-diff output

event zeek_init()
	{
	print DNSVigil::node, DNSVigil::sees_packets;
	}
