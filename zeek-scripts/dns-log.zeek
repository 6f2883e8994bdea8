##! Adds columns to dns.log: the sizes of both messages, the types of the answers, the EDNS fields
##! of the query, and the extended errors (RFC 8914) of the response.

@load ./main

# EDNS is a record of the additional section, which Zeek skips by default.
redef dns_skip_all_addl = F;

module DNSVigil;

export {
	redef record DNS::Info += {
		## Octets in the query message, without the headers of UDP or TCP.
		query_bytes: count &log &optional;
		## Octets in the response message.
		response_bytes: count &log &optional;
		## The type of each entry of *answers*.
		answer_types: vector of string &log &optional;
		## The UDP payload size that the query offers; unset without EDNS.
		edns_udp_size: count &log &optional;
		## Whether the query asks for DNSSEC records (the DO bit); unset without EDNS.
		do: bool &log &optional;
		## The extended error codes of a response over UDP.
		ede: vector of count &log &optional;
	};
}

event dns_message(c: connection, is_orig: bool, msg: dns_msg, len: count)
	{
	if ( ! c?$dns )
		return;

	if ( msg$QR )
		c$dns$response_bytes = len;
	else
		c$dns$query_bytes = len;
	}

# After DNS::do_reply's own body, which adds to *answers* under the same conditions.
hook DNS::do_reply(c: connection, msg: dns_msg, ans: dns_answer, reply: string)
	{
	if ( ans$answer_type != DNS_ANS || reply == "" || ! msg$QR )
		return;

	if ( ! c$dns?$answer_types )
		c$dns$answer_types = vector();

	c$dns$answer_types += type_names[ans$qtype];
	}

# Returns the extended error codes in the OPT record whose fixed part is given. Zeek has no event
# for them, so they come from the octets of the current packet.
function extended_errors(packet: string, opt: dns_edns_additional): vector of
    count
	{
	local codes: vector of count;
	local start = hexstr_to_bytestring(fmt("000029%04x%08x", opt$payload_size,
	    double_to_count(interval_to_double(opt$TTL))));
	# The last match is the record itself, whatever other records hold.
	local found = rfind_str(packet, start);

	if ( found < 0 )
		return codes;

	# Strings count from 1 here.
	local at = int_to_count(found) + 1 + |start|;
	local end = at + 2 + bytestring_to_count(sub_bytes(packet, at, 2));
	at += 2;

	while ( at + 4 <= end && end <= |packet| + 1 )
		{
		if ( bytestring_to_count(sub_bytes(packet, at, 2)) == 15 )
			codes += bytestring_to_count(sub_bytes(packet, at + 4, 2));

		at += 4 + bytestring_to_count(sub_bytes(packet, at + 2, 2));
		}

	return codes;
	}

event dns_EDNS_addl(c: connection, msg: dns_msg, ans: dns_edns_additional)
	{
	if ( ! c?$dns )
		return;

	if ( ! msg$QR )
		{
		c$dns$edns_udp_size = ans$payload_size;
		c$dns$do = ans$z_field >= 0x8000;
		return;
		}

	# A message over TCP can be in several packets, or several in one.
	if ( c$dns$proto != udp )
		return;

	local packet = get_current_packet()$data;

	# Most messages leave here: without the option's number, there is no extended error.
	if ( strstr(packet, "\x00\x0f") == 0 )
		return;

	local codes = extended_errors(packet, ans);

	if ( |codes| > 0 )
		c$dns$ede = codes;
	}
