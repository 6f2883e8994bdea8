##! The queries that the resolvers send to other servers: which hosts are resolvers, which queries wait
##! for an answer and in which zone, and how predictable their ports and ids are.

@load ./log
@load base/utils/site

module DNSVigilPoisoning;

# A query of a resolver to one server, from one port, with one id.
type Question: record {
	server: addr;
	p: port;
	id: count;
	zone: string;
	sent: count &default=1;
	answers: count &default=0;
	# The first answer's content.
	first_content: count &default=0;
};

# An answer that arrives later is unsolicited.
const question_time = 10sec;

# Samples for an estimate of entropy: at least, and at most.
const min_samples = 256;
const max_samples = 1024;

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

# By resolver, name and type.
global questions: table[addr, string, count] of vector of Question
    &create_expire=question_time;

# Until then, queries may be missing because the cap refused some.
global questions_missing = double_to_time(0.0);

global learned: set[addr] &create_expire=1day;

# Local hosts that resolve for other local hosts.
global serving: set[addr] &create_expire=1day;

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

	if ( msg$QR || ! Site::is_local_addr(id$orig_h) || ! is_dns_over_udp(id) )
		return F;

	# A stub asks with RD, too, but it does not resolve for others.
	if ( msg$RD && ( id$orig_h !in serving || Site::is_local_addr(id$resp_h) ) )
		return F;

	if ( |learned| >= max_resolvers )
		{
		++DNSVigil::dropped_poisoning;
		return F;
		}

	add learned[id$orig_h];
	return T;
	}

event dns_query_reply(c: connection, msg: dns_msg, query: string, qtype: count,
    qclass: count)
	{
	if ( |resolvers| == 0
	    && msg$RA
	    && msg$RD
	    && c$id$resp_h !in serving
	    && |serving| < max_resolvers
	    && Site::is_local_addr(c$id$resp_h)
	    && Site::is_local_addr(c$id$orig_h) )
		add serving[c$id$resp_h];
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
