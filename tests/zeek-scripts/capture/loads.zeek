# @TEST-DOC: The package loads by itself, without warnings.
# @TEST-EXEC: zeek $PACKAGE %INPUT >output 2>&1
# @TEST-EXEC: btest-diff output

event zeek_init()
	{
	print DNSVigil::node, DNSVigil::sees_packets;
	}
