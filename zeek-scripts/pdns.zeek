##! Passive DNS: logs the records of responses as tuples (rrname, rrtype, rdata). A tuple is logged
##! when it is first seen, and then at most once an interval, with the counts since its last row. No
##! client address is kept.
##!
##! Only responses that match a query in addresses, ports, id and question count. Between resolvers
##! and authoritative servers, records outside the bailiwick (the zone delegated to the answering
##! server) are left out, as a resolver does. A delegation is accepted if it descends from the root
##! and is itself in bailiwick.

@load ./main

# Zeek skips these sections by default.
redef dns_skip_all_auth = F;
redef dns_skip_all_addl = F;

module DNSVigilPDNS;

export {
	## The stream of dnsvigil_pdns.log.
	redef enum Log::ID += { LOG };

	## Decides which rows of the stream are logged.
	global log_policy: Log::PolicyHook;

	## One row: what was seen of a tuple since its last row. Counts add up over rows and nodes; TTLs
	## and times merge by minimum and maximum.
	type Info: record {
		## When the row was written.
		ts: time &log;
		## The node that wrote the row, or "standalone".
		node: string &log;
		## The owner's name in lower case, without final dot; "." is the root.
		rrname: string &log;
		## The type's mnemonic, or "TYPE" and its number.
		rrtype: string &log;
		## The data in presentation form, names without final dot; unset for types that Zeek does not decode.
		rdata: string &log &optional;
		## The sections in which the record was seen: answer, authority, additional.
		section: set[string] &log;
		## The smallest zone whose servers gave the record; unset if no delegation to the server was seen.
		bailiwick: string &log &optional;
		## The lowest TTL, in seconds.
		ttl_min: count &log;
		## The highest TTL, in seconds.
		ttl_max: count &log;
		## How often the record was seen. The column is called "count".
		seen: count &log;
		## When the record was first seen since the last row.
		time_first: time &log;
		## When the record was last seen.
		time_last: time &log;
	};

	## Whether passive DNS is collected.
	option enabled = T;

	## The minimum time between two rows of a tuple, and the time after which an unseen tuple is forgotten.
	option log_interval = 1hr;

	## The maximum number of remembered tuples. Beyond it, the tuple with the oldest row is evicted,
	## and its unlogged counts are logged.
	option max_tuples: count = 500000;

	## The maximum length of data, in characters; records with longer data are refused.
	option max_rdata: count = 4096;

	## The maximum number of zones, and of addresses of name servers, whose delegation is remembered.
	option max_delegations: count = 200000;

	## The name servers of the root, where delegations begin.
	option root_servers: set[addr] = {
		198.41.0.4,
		[2001:503:ba3e::2:30],
		170.247.170.2,
		[2801:1b8:10::b],
		192.33.4.12,
		[2001:500:2::c],
		199.7.91.13,
		[2001:500:2d::d],
		192.203.230.10,
		[2001:500:a8::e],
		192.5.5.241,
		[2001:500:2f::f],
		192.112.36.4,
		[2001:500:12::d0d],
		198.97.190.53,
		[2001:500:1::53],
		192.36.148.17,
		[2001:7fe::53],
		192.58.128.30,
		[2001:503:c27::2:30],
		193.0.14.129,
		[2001:7fd::1],
		199.7.83.42,
		[2001:500:9f::42],
		202.12.27.33,
		[2001:dc3::35],
	};
}

type Tuple: record {
	rrname: string;
	rrtype: count;
	rdata: string;
	# All but zone covers the time since the last row. section is that of the last sighting alone.
	section: count &default=0;
	sections: count &default=0;
	zone: string &default="";
	ttl_min: interval &default=0sec;
	ttl_max: interval &default=0sec;
	seen: count &default=0;
	first: time &optional;
	last: time &optional;
	written: time &optional;
};

# Missing entries are created on the way; "written" distinguishes them.
global tuples: table[string, count, string] of Tuple &default=function(
    rrname: string, rrtype: count, rdata: string): Tuple
	{
	return Tuple($rrname=rrname, $rrtype=rrtype, $rdata=rdata);
	};

# All tuples in the order of their last rows: first queue from its head on, then arrivals.
global queue: vector of Tuple;
global head = 0;
global arrivals: vector of Tuple;
const nobody = Tuple($rrname="", $rrtype=0, $rdata="");

# By zone the names of its servers, and the addresses of servers' names.
global delegations: table[string] of set[string] &write_expire=7days;
global addresses: set[addr, string] &write_expire=7days;
global server_names: set[string] &write_expire=7days;
const max_names_of_zone = 16;

# The response whose records are coming in: whether they count, when it came, and the zone of the server, "" for
# unknown.
global wanted = F;
global now: time;
global zone = "";
global dot_zone = "";

# By DNS_ANS, DNS_AUTH and DNS_ADDL: a bit for each, and the set for each sum of bits, less 1.
const section_bit = vector(0, 1, 2, 4);
const section_names: vector of set[string] = vector(set("answer"), set(
    "authority"), set("answer", "authority"), set("additional"), set("answer",
    "additional"), set("authority", "additional"), set("answer", "authority",
    "additional"));

event zeek_init() &priority=5
	{
	Log::create_stream(LOG, Log::Stream($columns=Info, $path="dnsvigil_pdns",
	    $policy=log_policy));
	# A field cannot be called "count", which is a keyword.
	Log::remove_default_filter(LOG);
	Log::add_filter(LOG, Log::Filter($name="default", $path="dnsvigil_pdns",
	    $field_name_map=table(["seen"] = "count")));
	}

function seconds(ttl: interval): count
	{
	return double_to_count(interval_to_double(ttl));
	}

function log_row(t: Tuple)
	{
	local row = Info($ts=network_time(), $node=DNSVigil::node,
	    $rrname=t$rrname == "" ? "." : t$rrname,
	    $rrtype=DNSVigil::type_names[t$rrtype],
	    $section=section_names[t$sections - 1], $ttl_min=seconds(t$ttl_min),
	    $ttl_max=seconds(t$ttl_max), $seen=t$seen, $time_first=t$first,
	    $time_last=t$last);

	if ( t$rdata != "" )
		row$rdata = t$rdata;

	if ( t$zone != "" )
		row$bailiwick = t$zone;

	Log::write(LOG, row);
	t$seen = 0;
	t$section = t$sections = 0;
	t$written = network_time();
	}

# Returns whether the queue has a tuple, and makes the tuple with the oldest row its head.
function queued(): bool
	{
	if ( head == |queue| )
		{
		queue = arrivals;
		arrivals = vector();
		head = 0;
		}

	return head < |queue|;
	}

# Removes the head of the queue.
function dequeue(): Tuple
	{
	local t = queue[head];
	queue[head] = nobody;
	++head;
	return t;
	}

function forget(t: Tuple)
	{
	if ( t$seen > 0 )
		log_row(t);

	delete tuples[t$rrname, t$rrtype, t$rdata];
	}

# Returns whether the record is in bailiwick, as far as this is known, and may therefore delegate.
function sighting(msg: dns_msg, ans: dns_answer, rdata: string): bool
	{
	# With several questions, wanted would be about another message, because dns_query_reply would come before the
	# records.
	if ( ! wanted || ! msg$QR || msg$num_queries != 1 || ans$qclass != 1 )
		return F;

	if ( zone != ""
	    && zone != "."
	    && ans$query != zone
	    && ! ends_with(ans$query, dot_zone) )
		return F;

	local t = tuples[ans$query, ans$qtype, rdata];
	local new = ! t?$written;

	if ( new )
		{
		if ( |rdata| > max_rdata )
			{
			++DNSVigil::dropped_pdns;
			return F;
			}

		while ( |tuples| >= max_tuples && queued() )
			{
			forget(dequeue());
			++DNSVigil::dropped_pdns;
			}

		tuples[ans$query, ans$qtype, rdata] = t;
		arrivals += t;
		}

	t$last = now;

	if ( t$seen == 0 )
		{
		t$first = now;
		t$ttl_min = t$ttl_max = ans$TTL;
		}
	else if ( ans$TTL < t$ttl_min )
		t$ttl_min = ans$TTL;
	else if ( ans$TTL > t$ttl_max )
		t$ttl_max = ans$TTL;

	++t$seen;

	if ( ans$answer_type != t$section )
		{
		t$section = ans$answer_type;
		t$sections = t$sections | section_bit[ans$answer_type];
		}

	if ( zone != "" && |zone| > |t$zone| )
		t$zone = zone;

	if ( new )
		log_row(t);

	return zone != "";
	}

event DNSVigilPDNS::tick()
	{
	while ( queued() && queue[head]$written + log_interval <= network_time() )
		{
		local t = dequeue();

		if ( t$seen == 0 )
			forget(t);
		else
			{
			log_row(t);
			arrivals += t;
			}
		}

	if ( ! zeek_is_terminating() )
		schedule 1sec { DNSVigilPDNS::tick() };
	}

event zeek_init()
	{
	if ( DNSVigil::sees_packets )
		schedule 1sec { DNSVigilPDNS::tick() };
	}

event zeek_done()
	{
	for ( _, t in tuples )
		{
		if ( t$seen > 0 )
			log_row(t);
		}
	}

# Returns the smallest zone that holds the name and was delegated to the server, or "" if none is known.
function zone_of(server: addr, name: string): string
	{
	while ( name != "" )
		{
		if ( name in delegations )
			{
			for ( ns in delegations[name] )
				{
				if ( [server, ns] in addresses )
					return name;
				}
			}

		local dot = strstr(name, ".");
		name = dot == 0 ? "" : name[dot:];
		}

	return server in root_servers ? "." : "";
	}

# The type in c$dns is that of a query; without a query it is unset.
event dns_query_reply(c: connection, msg: dns_msg, query: string, qtype: count,
    qclass: count)
	{
	now = network_time();
	wanted = enabled && qclass == 1 && ( msg$rcode == 0 || msg$rcode == 3 ) &&
	    c?$dns && c$dns?$qtype && c$dns$qtype == qtype && c$dns$query ==
	    query && c$id$resp_p !in DNSVigil::ignored_ports;
	zone = "";

	# A query without "recursion desired" comes from a resolver and goes to an authoritative server.
	if ( wanted && ! c$dns$RD )
		{
		zone = zone_of(c$id$resp_h, query);
		dot_zone = "." + zone;
		}
	}

# The parser's reading of the rest of a malformed message is not data of any server.
event conn_weird(name: string, c: connection, addl: string)
	{
	if ( DNSVigil::is_malformed(name) )
		wanted = F;
	}

# Returns the presentation form of a name, which is "." for an empty one.
function host(name: string): string
	{
	return name == "" ? "." : name;
	}

# Returns a character string in quotes, escaped as in RFC 1035, section 5.1.
function quoted(s: string): string
	{
	if ( s == /[^\\\"\x00-\x1f\x7f-\xff]*/ )
		return "\"" + s + "\"";

	local text = "\"";

	for ( character in s )
		{
		if ( character == /[\\\"]/ )
			text += "\\" + character;
		else if ( character == /[\x00-\x1f\x7f-\xff]/ )
			text += fmt("\\%03d", bytestring_to_count(character));
		else
			text += character;
		}

	return text + "\"";
	}

function quoted_all(strings: string_vec): string
	{
	local all: vector of string;

	for ( _, s in strings )
		all += quoted(s);

	return join_string_vec(all, " ");
	}

# Remembers where the servers of delegated zones are.
function name_server_at(name: string, a: addr)
	{
	if ( |addresses| < max_delegations )
		add addresses[a, name];
	else
		++DNSVigil::dropped_pdns;
	}

# Remembers which servers a zone has.
function delegated(child: string, server: string)
	{
	if ( child !in delegations )
		{
		if ( |delegations| >= max_delegations )
			{
			++DNSVigil::dropped_pdns;
			return;
			}

		delegations[child] = set();
		}

	if ( |delegations[child]| < max_names_of_zone )
		{
		add delegations[child][server];
		add server_names[server];
		}
	}

# Zeek's own scripts provide the presentation form of most record types; computing it is expensive.
hook DNS::do_reply(c: connection, msg: dns_msg, ans: dns_answer, reply: string)
	{
	if ( ! wanted )
		return;

	local rrtype = ans$qtype;

	# A and AAAA.
	if ( rrtype == 1 || rrtype == 28 )
		{
		if ( sighting(msg, ans, reply) && ans$query in server_names )
			name_server_at(ans$query, to_addr(reply));
		}
	# CNAME, NS and PTR.
	else if ( rrtype == 5 || rrtype == 2 || rrtype == 12 )
		{
		if ( sighting(msg, ans, host(reply)) && rrtype == 2 )
			delegated(ans$query, reply);
		}
	}

event dns_SOA_reply(c: connection, msg: dns_msg, ans: dns_answer, soa: dns_soa)
	{
	sighting(msg, ans, fmt("%s %s %d %.0f %.0f %.0f %.0f", host(soa$mname), host(
	    soa$rname), soa$serial, soa$refresh, soa$retry, soa$expire,
	    soa$minimum));
	}

event dns_MX_reply(c: connection, msg: dns_msg, ans: dns_answer, name: string,
    preference: count)
	{
	sighting(msg, ans, fmt("%d %s", preference, host(name)));
	}

event dns_SRV_reply(c: connection, msg: dns_msg, ans: dns_answer,
    target: string, priority: count, weight: count, p: count)
	{
	sighting(msg, ans, fmt("%d %d %d %s", priority, weight, p, host(target)));
	}

event dns_TXT_reply(c: connection, msg: dns_msg, ans: dns_answer,
    strs: string_vec)
	{
	sighting(msg, ans, quoted_all(strs));
	}

event dns_SPF_reply(c: connection, msg: dns_msg, ans: dns_answer,
    strs: string_vec)
	{
	sighting(msg, ans, quoted_all(strs));
	}

event dns_CAA_reply(c: connection, msg: dns_msg, ans: dns_answer, flags: count,
    tag: string, value: string)
	{
	sighting(msg, ans, fmt("%d %s %s", flags, tag, quoted(value)));
	}

event dns_DS(c: connection, msg: dns_msg, ans: dns_answer, ds: dns_ds_rr)
	{
	sighting(msg, ans, fmt("%d %d %d %s", ds$key_tag, ds$algorithm, ds$digest_type,
	    bytestring_to_hexstr(ds$digest_val)));
	}

event dns_DNSKEY(c: connection, msg: dns_msg, ans: dns_answer,
    dnskey: dns_dnskey_rr)
	{
	sighting(msg, ans, fmt("%d %d %d %s", dnskey$flags, dnskey$protocol,
	    dnskey$algorithm, encode_base64(dnskey$public_key)));
	}

# Zeek reads the priority and the target of SVCB and HTTPS, not the parameters.
event dns_SVCB(c: connection, msg: dns_msg, ans: dns_answer, svcb: dns_svcb_rr)
	{
	sighting(msg, ans, fmt("%d %s", svcb$svc_priority, to_lower(
	    svcb$target_name)));
	}

event dns_HTTPS(c: connection, msg: dns_msg, ans: dns_answer,
    https: dns_svcb_rr)
	{
	sighting(msg, ans, fmt("%d %s", https$svc_priority, to_lower(
	    https$target_name)));
	}

event dns_SSHFP(c: connection, msg: dns_msg, ans: dns_answer, algo: count,
    fptype: count, fingerprint: string)
	{
	sighting(msg, ans, fmt("%d %d %s", algo, fptype, bytestring_to_hexstr(
	    fingerprint)));
	}

event dns_unknown_reply(c: connection, msg: dns_msg, ans: dns_answer)
	{
	sighting(msg, ans, "");
	}
