##! Looks for cache poisoning between a resolver and the servers that it queries. The script counts,
##! by resolver and zone: guessed ids and ports, second answers, unsolicited answers, records out of
##! bailiwick, storms of names that do not exist, fragments, port scans and unusual TTLs. It raises
##! a Notice only for what is certain.

@load ./main
@load base/frameworks/notice
@load base/utils/site

# Forged name servers and their addresses are in the sections that Zeek skips by default.
redef dns_skip_all_auth = F;
redef dns_skip_all_addl = F;

module DNSVigil;

export {
	redef enum Notice::Type += {
		## The queries in one zone got far more answers with a wrong id or port than right ones.
		Poisoning_Guessing,
		## A resolver's ports or ids are predictable.
		Predictable_Questions,
	};
}

module DNSVigilPoisoning;

export {
	redef enum Log::ID += { LOG };

	## Decides which rows of the stream are logged.
	global log_policy: Log::PolicyHook;

	## One row: one resolver and zone in one interval. Counts cover this row alone and add up over rows, except for
	## *sources*.
	type Info: record {
		## When the row was written.
		ts: time &log;
		## The node that wrote the row, or "standalone".
		node: string &log;
		## The resolver.
		resolver: addr &log;
		## The registered domain, as far as it can be known without a list of public suffixes. A row
		## without a zone covers the resolver as a whole.
		zone: string &log &optional;
		## The time of the first message of this row.
		time_first: time &log &optional;
		## The time of the last message of this row.
		time_last: time &log &optional;
		## Queries over UDP to other servers; in a zone's row, since the first sign in the zone.
		queries: count &log &default=0;
		## Answers received, right and wrong.
		responses: count &log &default=0;
		## Answers from the right server to the right port with an id that no query had.
		wrong_id: count &log &default=0;
		## Answers from the right server to a port that sent no such query.
		wrong_port: count &log &default=0;
		## Further answers to one query that differ from the first.
		conflicting_answers: count &log &default=0;
		## Answers for a name and type, or from a server, that was not queried.
		unsolicited: count &log &default=0;
		## Answers with records outside the server's zones.
		out_of_bailiwick: count &log &default=0;
		## NXDOMAIN answers, if there are many in the interval.
		nxdomain_storm: count &log &default=0;
		## Wrong answers with name servers, and right answers whose name servers replace all that were seen before.
		forged_ns: count &log &default=0;
		## Answers in fragments, and fragments that contradict each other.
		first_fragments: count &log &default=0;
		## "Port unreachable" from the resolver.
		icmp_unreachable: count &log &default=0;
		## Answers whose TTL is more than twice the highest TTL that this server sent before for the zone.
		ttl_jumps: count &log &default=0;
		## Answers whose IP TTL (hop limit) is outside the range of this server's earlier answers.
		ip_ttl_jumps: count &log &default=0;
		## Bits of entropy of the resolver's source ports.
		port_entropy: double &log &optional;
		## Bits of entropy of the resolver's ids.
		id_entropy: double &log &optional;
		## Distinct source addresses of wrong answers, up to 100.
		sources: count &log &default=0;
		## Some of the names with signs of an attack.
		sample_names: vector of string &log &default=vector();
		## Some of the source addresses of the answers.
		sample_servers: vector of addr &log &default=vector();
	};

	## The addresses from which the resolvers query other servers. If none is given, local hosts
	## (:zeek:id:`Site::local_nets`) that send queries without "recursion desired" count as resolvers.
	option resolvers: set[subnet] = {};

	## How often rows are written. Strong signs of an attack write a row at once.
	option log_interval = 5min;

	## Wrong answers in a zone and interval that raise a Notice, if they are also more than twice the right ones.
	option guesses = 100;

	## The number of NXDOMAIN answers in a zone and interval that counts as a storm.
	option storm_names = 100;

	## The bits of entropy below which a resolver's ports are predictable.
	option min_port_entropy = 6.0;

	## The bits of entropy below which a resolver's ids are predictable.
	option min_id_entropy = 10.0;

	## The maximum number of remembered queries.
	option max_questions = 200000;

	## The maximum number of zones with signs of an attack; signs in further zones count in the resolver's own row.
	option max_zones = 10000;

	## The maximum number of zones whose NXDOMAIN answers are counted.
	option max_nxdomain_zones = 50000;

	## The maximum number of servers, and of pairs of server and zone, whose TTLs are remembered.
	option max_servers = 100000;

	## The maximum number of resolvers that are recognised if *resolvers* is empty.
	option max_resolvers = 1000;
}

# A query of a resolver to one server, from one port, with one id.
type Question: record {
	server: addr;
	p: port;
	id: count;
	zone: string;
	sent: count &default=1;
	answers: count &default=0;
	# The first answer's content.
	said: count &default=0;
};

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
	says: count &default=0;
	ttl: interval &default=0sec;
	out_of_bailiwick: bool &default=F;
	any_glue: bool &default=F;
	# The zone whose name servers it gives, and their names.
	ns_owner: string &optional;
	ns: set[string] &optional;
	# Signs in the packet itself.
	fragment: bool &default=F;
	hops_jump: bool &default=F;
};

type State: record {
	info: Info;
	# Weighted signals since the state was made, and the weight at which the next row is due.
	evidence: count &default=0;
	row_due: count &default=100;
	wrong: count &default=0;
	right: count &default=0;
	sources: set[addr] &default=set();
	# The first name servers seen in the zone's answers.
	ns: set[string] &optional;
	# Samples of the resolver's queries.
	ports: vector of count &default=vector();
	ids: vector of count &default=vector();
};

type Hops: record {
	low: count;
	high: count;
};

type Served: record {
	answers: count &default=0;
	ttl: interval &default=0sec;
};

# An answer that arrives later is unsolicited.
const question_time = 10sec;

# Samples for an estimate of entropy: at least, and at most.
const min_samples = 256;
const max_samples = 1024;

# The weight of a sign that hardly ever occurs without an attack: it writes a row at once, and so does every
# tenfold.
const sure = 100;
const unsure = 1;

# Second-level names below which domains are registered, where the top level is a country's.
const second_level: set[string] = {
	"ac",
	"ad",
	"asn",
	"co",
	"com",
	"ed",
	"edu",
	"gen",
	"go",
	"gob",
	"gov",
	"gv",
	"id",
	"info",
	"ltd",
	"me",
	"mil",
	"ne",
	"net",
	"nom",
	"or",
	"org",
	"plc",
	"res",
	"sch",
	"web"
};

# No path fragments a DNS message of this size, which every host must accept in one piece.
const fragment_bytes = 512;

const port_unreachable = 3;
const port_unreachable_ipv6 = 4;

function new_info(resolver: addr, zone: string): Info
	{
	local info = Info($ts=network_time(), $node=DNSVigil::node,
	    $resolver=resolver);

	if ( zone != "" )
		info$zone = zone;

	return info;
	}

function mark_time(info: Info)
	{
	info$time_last = network_time();

	if ( ! info?$time_first )
		info$time_first = network_time();
	}

# Bits of collision entropy (Renyi's of order 2), -log2 of the chance that two samples are equal. That chance is
# estimated without bias by the share of equal pairs (Acharya, Orlitsky, Suresh, Tyagi: Estimating Renyi entropy of
# discrete distributions, IEEE Transactions on Information Theory 63(1), 2017). No equal pair counts as one.
function collision_entropy(samples: vector of count): double
	{
	local seen: table[count] of count &default=0;
	local equal_pairs = 0;

	for ( _, sample in samples )
		{
		equal_pairs += seen[sample];
		++seen[sample];
		}

	local pairs = |samples| * ( |samples| - 1 ) / 2;
	return ln(pairs / ( equal_pairs == 0 ? 1.0 : equal_pairs * 1.0 )) / ln(2.0);
	}

# The lower of the entropies of the samples and of their differences: a counter takes all values, but its steps are
# one.
function entropy(samples: vector of count): double
	{
	local steps: vector of count = vector();

	for ( i, sample in samples )
		if ( i > 0 )
			steps += ( sample + 65536 - samples[i - 1] ) % 65536;

	local plain = collision_entropy(samples);
	local stepwise = collision_entropy(steps);
	return plain < stepwise ? plain : stepwise;
	}

function measure_entropy(state: State)
	{
	if ( |state$ports| < min_samples )
		return;

	local info = state$info;
	info$port_entropy = entropy(state$ports);
	info$id_entropy = entropy(state$ids);

	if ( info$port_entropy < min_port_entropy
	    || info$id_entropy < min_id_entropy )
		NOTICE(Notice::Info($note=DNSVigil::Predictable_Questions, $msg=fmt("%s asks with %.1f bits of entropy in its ports and %.1f in its ids",
		    info$resolver, info$port_entropy, info$id_entropy),
		    $src=info$resolver, $identifier=cat(info$resolver),
		    $suppress_for=1day));
	}

function write_row(state: State)
	{
	local info = state$info;
	info$ts = network_time();
	info$sources = |state$sources|;
	Log::write(LOG, info);
	state$info = new_info(info$resolver, info?$zone ? info$zone : "");
	state$sources = set();
	}

function finish(state: State)
	{
	local info = state$info;
	measure_entropy(state);

	# A row was written at the last message already.
	if ( info?$time_first )
		write_row(state);
	}

function expire_whole(t: table[addr] of State, resolver: addr): interval
	{
	finish(t[resolver]);
	return 0sec;
	}

function expire_state(t: table[addr, string] of State, resolver: addr,
    zone: string): interval
	{
	finish(t[resolver, zone]);
	return 0sec;
	}

# The resolvers as a whole, and the zones with signs of an attack.
global wholes: table[addr] of State &create_expire=log_interval
    &expire_func=expire_whole;
global states: table[addr, string] of State &create_expire=log_interval
    &expire_func=expire_state;

# By resolver, name and type.
global questions: table[addr, string, count] of vector of Question
    &create_expire=question_time;

# Until then, queries may be missing because the cap refused some.
global questions_missing = double_to_time(0.0);

# By resolver and zone.
global nxdomains: table[addr, string] of count &create_expire=log_interval;

# By server, and by server and zone.
global hops: table[addr] of Hops &create_expire=1hr;
global served: table[addr, string] of Served &create_expire=1hr;

global learned: set[addr] &create_expire=1day;

# The one answer being read, while there is one.
global reading = F;
global answer: Answer;

# The registered domain, by rule of thumb; the root's for a single label.
function zone_of(name: string): string
	{
	local top = rfind_str(name, ".");

	if ( top <= 0 )
		return top == 0 ? name : ".";

	local at = rfind_str(name, ".", 0, top);
	local more = 0;

	if ( |name| - top == 3 && at > 0 && name[at + 1 : top] in second_level )
		more = 1;
	else if ( ends_with(name, ".arpa") )
		# A network of 16 bits of IPv4, or of 32 of IPv6.
		more = ends_with(name, ".ip6.arpa") ? 8 : 2;

	while ( more > 0 && at > 0 )
		{
		at = rfind_str(name, ".", 0, at);
		--more;
		}

	return at < 0 ? name : name[at + 1 :];
	}

function within(name: string, zone: string): bool
	{
	return name == zone
	    || zone == ""
	    || zone == "."
	    || ends_with(name, "." + zone);
	}

function is_dns_over_udp(id: conn_id): bool
	{
	return is_udp_port(id$resp_p) && id$resp_p !in DNSVigil::ignored_ports;
	}

function is_resolver(host: addr): bool
	{
	return |resolvers| > 0 ? host in resolvers : host in learned;
	}

# Whether a message is between a resolver and a server that it queries. Most are not, so this check comes first.
function upstream(id: conn_id, msg: dns_msg): bool
	{
	if ( |resolvers| > 0 )
		return id$orig_h in resolvers && is_dns_over_udp(id);

	if ( id$orig_h in learned )
		return is_dns_over_udp(id);

	if ( msg$RD
	    || msg$QR
	    || ! Site::is_local_addr(id$orig_h)
	    || ! is_dns_over_udp(id) )
		return F;

	if ( |learned| >= max_resolvers )
		{
		++DNSVigil::dropped_poisoning;
		return F;
		}

	add learned[id$orig_h];
	return T;
	}

function resolver_state(resolver: addr): State
	{
	if ( resolver !in wholes )
		wholes[resolver] = State($info=new_info(resolver, ""));

	return wholes[resolver];
	}

function zone_state(resolver: addr, zone: string): State
	{
	if ( [resolver, zone] in states )
		return states[resolver, zone];

	if ( |states| >= max_zones )
		{
		++DNSVigil::dropped_poisoning;
		return resolver_state(resolver);
		}

	local state = State($info=new_info(resolver, zone));
	states[resolver, zone] = state;
	return state;
	}

# Adds the weight of what was just counted, and writes a row if one is due.
function weigh(state: State, weight: count)
	{
	mark_time(state$info);
	state$evidence += weight;

	if ( state$evidence < state$row_due )
		return;

	while ( state$evidence >= state$row_due )
		state$row_due = state$row_due * 10;

	write_row(state);
	}

event zeek_init()
	{
	Log::create_stream(LOG, Log::Stream($columns=Info, $path="dnsvigil_poisoning",
	    $policy=log_policy));
	}

event dns_request(c: connection, msg: dns_msg, query: string, qtype: count,
    qclass: count)
	{
	if ( msg$QR || ! upstream(c$id, msg) )
		return;

	local resolver = c$id$orig_h;
	local state = resolver_state(resolver);
	++state$info$queries;
	mark_time(state$info);

	if ( |state$ports| < max_samples )
		{
		state$ports += port_to_count(c$id$orig_p);
		state$ids += msg$id;
		}

	local zone = zone_of(query);

	if ( |states| > 0 && [resolver, zone] in states )
		{
		++states[resolver, zone]$info$queries;
		mark_time(states[resolver, zone]$info);
		}

	local question = Question($server=c$id$resp_h, $p=c$id$orig_p, $id=msg$id,
	    $zone=zone);

	if ( [resolver, query, qtype] !in questions )
		{
		if ( |questions| >= max_questions )
			{
			++DNSVigil::dropped_poisoning;
			questions_missing = network_time() + question_time;
			return;
			}

		questions[resolver, query, qtype] = vector(question);
		return;
		}

	local same = questions[resolver, query, qtype];

	for ( _, earlier in same )
		if ( earlier$server == question$server
		    && earlier$p == question$p
		    && earlier$id == question$id )
			{
			++earlier$sent;
			return;
			}

	# Of a resolver that repeats a query again and again, only the last queries are remembered.
	if ( |same| < 32 )
		same += question;
	else
		same[state$info$queries % 32] = question;
	}

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
function judge(id: conn_id, msg: dns_msg, qtype: count)
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
	    $names=vector(query), $says=msg$rcode);
	judge(c$id, msg, qtype);

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

hook DNS::do_reply(c: connection, msg: dns_msg, ans: dns_answer, reply: string)
	{
	if ( ! reading )
		return;

	local owner = to_lower(ans$query);

	if ( ans$answer_type == DNS_ANS )
		{
		answer$says += fnv1a32(reply);

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

		answer$says += fnv1a32(reply);

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

# Remembers the server's TTL for the zone, and returns whether it stands out.
function ttl_jumps(): bool
	{
	if ( answer$ttl == 0sec )
		return F;

	if ( [answer$server, answer$zone] !in served )
		{
		if ( answer$verdict != "right" )
			return F;

		if ( |served| >= max_servers )
			{
			++DNSVigil::dropped_poisoning;
			return F;
			}

		served[answer$server, answer$zone] = Served();
		}

	local known = served[answer$server, answer$zone];
	local jumps = known$answers >= 8 && answer$ttl > 2 * known$ttl;

	if ( answer$verdict == "right" )
		{
		++known$answers;

		if ( answer$ttl > known$ttl )
			known$ttl = answer$ttl;
		}

	return jumps;
	}

# Whether a right answer contradicts an earlier one to the same question.
function conflicts(): bool
	{
	local question = answer$question;
	++question$answers;

	if ( question$answers == 1 )
		question$said = answer$says;

	return question$answers > question$sent && answer$says != question$said;
	}

# Returns the number of NXDOMAIN answers in the zone not counted yet, once they are a storm.
function storm(): count
	{
	if ( [answer$resolver, answer$zone] !in nxdomains )
		{
		if ( |nxdomains| >= max_nxdomain_zones )
			{
			++DNSVigil::dropped_poisoning;
			return 0;
			}

		nxdomains[answer$resolver, answer$zone] = 0;
		}

	local names = ++nxdomains[answer$resolver, answer$zone];
	return names > storm_names ? 1 : ( names == storm_names ? storm_names : 0 );
	}

# Whether name servers replace all those that were seen before.
function replaces_ns(state: State): bool
	{
	if ( ! answer?$ns || answer$ns_owner != answer$zone )
		return F;

	if ( ! state?$ns )
		{
		state$ns = answer$ns;
		return F;
		}

	return |state$ns & answer$ns| == 0;
	}

function add_samples(info: Info)
	{
	local known = F;

	if ( |info$sample_names| < 5 )
		{
		for ( _, name in info$sample_names )
			known = known || name == answer$name;

		if ( ! known )
			info$sample_names += answer$name;
		}

	if ( |info$sample_servers| == 5 )
		return;

	known = F;

	for ( _, server in info$sample_servers )
		known = known || server == answer$server;

	if ( ! known )
		info$sample_servers += answer$server;
	}

function settle()
	{
	local right = answer$verdict == "right";
	local resolver = answer$resolver;
	local whole = resolver_state(resolver)$info;
	++whole$responses;
	mark_time(whole);

	local ttl_jump = ttl_jumps();
	local conflict = right && conflicts();
	local storm_names_now = right && answer$rcode == 3 ? storm() : 0;
	local watched = [resolver, answer$zone] in states;

	if ( ! right
	    && answer$verdict == "unsolicited"
	    && network_time() < questions_missing )
		return;

	local odd = ! right
	    || ttl_jump
	    || conflict
	    || storm_names_now > 0
	    || answer$out_of_bailiwick
	    || answer$fragment
	    || answer$hops_jump;

	if ( ! odd && ! watched )
		return;

	# Messages that anybody can send at any time must not take up memory.
	local state = answer$verdict == "unsolicited" && ! watched ? resolver_state(
	    resolver) : zone_state(resolver, answer$zone);
	local info = state$info;
	local weight = 0;

	if ( info?$zone )
		{
		++info$responses;

		# The query that was sent before the first sign in the zone.
		if ( ! watched && answer$verdict != "unsolicited" )
			++info$queries;
		}

	if ( right )
		++state$right;

	if ( answer$verdict == "wrong_id" )
		{
		++info$wrong_id;
		weight += sure;
		}

	if ( answer$verdict == "wrong_port" )
		{
		++info$wrong_port;
		weight += sure;
		}

	if ( answer$verdict == "unsolicited" )
		{
		++info$unsolicited;
		weight += unsure;
		}

	if ( conflict )
		{
		++info$conflicting_answers;
		weight += sure;
		}

	if ( answer$out_of_bailiwick )
		{
		++info$out_of_bailiwick;
		weight += sure;
		}

	if ( answer?$ns && ! right || replaces_ns(state) )
		{
		++info$forged_ns;
		weight += unsure;
		}

	if ( answer$fragment )
		{
		++info$first_fragments;
		weight += sure;
		}

	if ( ttl_jump )
		{
		++info$ttl_jumps;
		weight += unsure;
		}

	if ( answer$hops_jump )
		{
		++info$ip_ttl_jumps;
		weight += unsure;
		}

	info$nxdomain_storm += storm_names_now;
	weight += storm_names_now;

	if ( odd )
		add_samples(info);

	if ( ! right && |state$sources| < 100 )
		add state$sources[answer$server];

	# Wrong answers can be compared with right ones only in a zone's own state.
	if ( ( answer$verdict == "wrong_id" || answer$verdict == "wrong_port" )
	    && info?$zone )
		{
		++state$wrong;

		if ( state$wrong >= guesses && state$wrong > 2 * state$right )
			NOTICE(Notice::Info($note=DNSVigil::Poisoning_Guessing, $msg=fmt("%d answers for %s had a wrong id or port, %d were right",
			    state$wrong, answer$zone, state$right),
			    $sub=answer$name, $src=answer$server, $dst=resolver,
			    $identifier=cat(resolver, answer$zone),
			    $suppress_for=1hr));
		}

	weigh(state, weight);
	}

event dns_end(c: connection, msg: dns_msg)
	{
	if ( ! reading )
		return;

	reading = F;
	settle();
	}

# Fragments that contradict each other, or stand alone, never make a message.
event flow_weird(name: string, src: addr, dst: addr, addl: string,
    source: string)
	{
	if ( /^fragment_|_fragment$/ !in name || ! is_resolver(dst) )
		return;

	local state = resolver_state(dst);
	++state$info$first_fragments;
	weigh(state, sure);
	}

event icmp_unreachable(c: connection, info: icmp_info, code: count,
    context: icmp_context)
	{
	if ( code != ( info$v6 ? port_unreachable_ipv6 : port_unreachable )
	    || ! is_udp_port(context$id$resp_p) )
		return;

	if ( ! is_resolver(c$id$orig_h) )
		return;

	local state = resolver_state(c$id$orig_h);
	++state$info$icmp_unreachable;
	weigh(state, unsure);
	}

event zeek_done()
	{
	for ( _, whole in wholes )
		finish(whole);

	for ( _, state in states )
		finish(state);
	}
