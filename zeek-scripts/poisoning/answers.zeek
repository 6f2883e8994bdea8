##! The answers that the resolvers receive: whether they match a query, and what their records and
##! packets hold.

@load ./queries

# Forged name servers and their addresses are in the sections that Zeek skips by default.
redef dns_skip_all_auth = F;
redef dns_skip_all_addl = F;

module DNSVigilPoisoning;

# The answer whose records are being read.
type Answer: record {
	resolver: addr;
	server: addr;
	name: string;
	zone: string;
	verdict: string;
	question: Question &optional;
	referral: bool;
	authoritative: bool;
	rcode: count;
	# Names that the answer may cover: the queried name and the targets of its aliases.
	names: vector of string;
	# The sum of its records' hashes, so that their order does not matter.
	content: count &default=0;
	ttl: interval &default=0sec;
	out_of_bailiwick: bool &default=F;
	any_glue: bool &default=F;
	# The zone whose name servers it gives, and their names.
	ns_owner: string &optional;
	ns: set[string] &optional;
	# Signs in the packet itself.
	fragment: bool &default=F;
	hops_jump: bool &default=F;
	# Signs in comparison with earlier answers, and NXDOMAIN answers of a storm not counted yet.
	ttl_jump: bool &default=F;
	conflict: bool &default=F;
	storm: count &default=0;
	# Some of its records, if it is suspicious.
	records: vector of string &default=vector();
};

type Hops: record {
	low: count;
	high: count;
};

type Served: record {
	answers: count &default=0;
	ttl: interval &default=0sec;
};

# No path fragments a DNS message of this size, which every host must accept in one piece.
const fragment_bytes = 512;

# The types whose records an attacker forges, and how many records and names a row has as samples.
const kept_types: table[count] of string = {
	[1] = "A",
	[2] = "NS",
	[5] = "CNAME",
	[28] = "AAAA"
};
const max_samples_of_row = 5;

# By server, and by server and zone.
global hops: table[addr] of Hops &create_expire=1hr;
global served: table[addr, string] of Served &create_expire=1hr;

# The one answer being read, while there is one.
global reading = F;
global answer: Answer;

# Returns the signs in the packet itself.
function look_at_packet(right: bool)
	{
	local header = get_current_packet_header();
	local ttl = 0;

	if ( header?$ip )
		{
		ttl = header$ip$ttl;
		answer$fragment = header$ip$MF || header$ip$offset > 0;
		}
	else if ( header?$ip6 )
		ttl = header$ip6$hlim;
	else
		return;

	if ( answer$server !in hops )
		{
		if ( ! right )
			return;

		if ( |hops| >= max_servers )
			++DNSVigil::dropped_poisoning;
		else
			hops[answer$server] = Hops($low=ttl, $high=ttl);

		return;
		}

	local known = hops[answer$server];
	answer$hops_jump = ttl + 1 < known$low || ttl > known$high + 1;

	if ( ! right )
		return;

	if ( ttl < known$low )
		known$low = ttl;

	if ( ttl > known$high )
		known$high = ttl;
	}

# Classifies an answer by the queries: "right", "wrong_id", "wrong_port" or "unsolicited".
function classify(id: conn_id, msg: dns_msg, qtype: count)
	{
	answer$verdict = "unsolicited";

	if ( [answer$resolver, answer$name, qtype] !in questions )
		return;

	for ( _, question in questions[answer$resolver, answer$name, qtype] )
		{
		answer$zone = question$zone;

		if ( question$server != answer$server )
			next;

		if ( question$p != id$orig_p )
			{
			if ( answer$verdict == "unsolicited" )
				answer$verdict = "wrong_port";
			}
		else if ( question$id != msg$id )
			answer$verdict = "wrong_id";
		else
			{
			answer$verdict = "right";
			answer$question = question;
			return;
			}
		}
	}

function begin_answer(c: connection, msg: dns_msg, query: string, qtype: count)
	{
	if ( ! msg$QR || ! upstream(c$id, msg) )
		return;

	answer = Answer($resolver=c$id$orig_h, $server=c$id$resp_h, $name=query,
	    $zone="", $verdict="", $referral=! msg$AA && msg$num_answers ==
	    0 && msg$rcode == 0, $authoritative=msg$AA, $rcode=msg$rcode,
	    $names=vector(query), $content=msg$rcode);
	classify(c$id, msg, qtype);

	if ( answer$zone == "" )
		answer$zone = zone_of(query);

	# Reading the packet header is expensive. It is read for a right answer if this may be in
	# fragments, or to learn or check the server's usual values.
	local right = answer$verdict == "right";

	if ( ! right
	    || c$resp$size > fragment_bytes
	    || answer$server !in hops
	    || [answer$resolver, answer$zone] in states )
		look_at_packet(right);

	reading = T;
	}

event dns_query_reply(c: connection, msg: dns_msg, query: string, qtype: count,
    qclass: count)
	{
	begin_answer(c, msg, query, qtype);
	}

event dns_rejected(c: connection, msg: dns_msg, query: string, qtype: count,
    qclass: count)
	{
	begin_answer(c, msg, query, qtype);
	}

function is_name_or_above(owner: string): bool
	{
	for ( _, name in answer$names )
		if ( within(name, owner) )
			return T;

	return F;
	}

function is_name(owner: string): bool
	{
	if ( owner == answer$name )
		return T;

	for ( _, name in answer$names )
		if ( name == owner )
			return T;

	return F;
	}

# Whether the server may know the address of a host, as far as this can be known.
function is_glue(owner: string): bool
	{
	if ( answer$any_glue
	    || within(owner, answer$zone)
	    || ( answer?$ns_owner && within(owner, zone_of(answer$ns_owner)) ) )
		return T;

	if ( [answer$server, zone_of(owner)] in served )
		return T;

	for ( _, name in answer$names )
		if ( within(owner, zone_of(name)) )
			return T;

	return F;
	}

# Keeps a record of an answer that may be forged. Of a right one, only the record itself can show that.
function keep_record(ans: dns_answer, reply: string)
	{
	if ( |answer$records| < max_samples_of_row
	    && ( answer$verdict != "right" || answer$fragment || answer$out_of_bailiwick || answer$question$answers > 0 )
	    && ans$qtype in kept_types )
		answer$records += fmt("%s %s %s", to_lower(ans$query), kept_types[ans$qtype],
		    to_lower(reply));
	}

hook DNS::do_reply(c: connection, msg: dns_msg, ans: dns_answer, reply: string)
	{
	if ( ! reading )
		return;

	local owner = to_lower(ans$query);

	if ( ans$answer_type == DNS_ANS )
		{
		answer$content += fnv1a32(reply);

		if ( answer$ttl == 0sec )
			answer$ttl = ans$TTL;

		# The answer may cover the target of an alias; a DNAME is above the name.
		if ( ans$qtype == 5 )
			answer$names += to_lower(reply);
		else if ( ! is_name(owner)
		    && ( ans$qtype != 39 || ! is_name_or_above(owner) ) )
			answer$out_of_bailiwick = T;
		}
	else if ( ans$answer_type == DNS_AUTH )
		{
		if ( ans$qtype != 2 && ans$qtype != 6 )
			return;

		answer$content += fnv1a32(reply);

		if ( ! answer?$ns_owner || answer$ns_owner != owner )
			{
			if ( ! is_name_or_above(owner) )
				answer$out_of_bailiwick = T;

			if ( ans$qtype != 2 )
				return;

			# A server that delegates registered domains serves one or more top-level domains, and may know any host
			# in them.
			local zone = zone_of(owner);
			answer$any_glue = zone == "." || ( answer$referral && zone == owner );
			answer$ns_owner = owner;
			answer$ns = set();
			}

		if ( ans$qtype == 2 )
			add answer$ns[to_lower(reply)];
		}
	else if ( ( ans$qtype == 1 || ans$qtype == 28 )
	    && ! answer$out_of_bailiwick
	    && ! is_glue(owner) )
		answer$out_of_bailiwick = T;
	}

# After the hook above, which finds what is out of bailiwick.
hook DNS::do_reply(c: connection, msg: dns_msg, ans: dns_answer, reply: string)
    &priority=-5
	{
	if ( reading )
		keep_record(ans, reply);
	}
