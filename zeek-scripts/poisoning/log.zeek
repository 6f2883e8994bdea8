##! The log of signs of cache poisoning, and the script's options. A row covers one resolver, or one zone
##! of a resolver, in one interval.

@load ../main
@load base/frameworks/notice

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
		## Of these, fragments that overlap, contradict each other or are tiny.
		odd_fragments: count &log &default=0;
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
		## Some of the records in answers that are wrong, in fragments, second to another or out of
		## bailiwick, as owner, type and data: what an attacker wants the resolver to believe.
		sample_records: vector of string &log &default=vector();
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

# The weight of a sign that hardly ever occurs without an attack: it writes a row at once, and so does every
# tenfold.
const sure = 100;
const unsure = 1;

# Fills in the entropy of the resolver's ports and ids, if there are enough samples.
global measure_entropy: function(state: State);

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

event zeek_done()
	{
	for ( _, whole in wholes )
		finish(whole);

	for ( _, state in states )
		finish(state);
	}
