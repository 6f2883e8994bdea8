##! Finds local hosts that serve recursive DNS to outside clients: open resolvers, and forwarders
##! that pass a client's query on, even if another host answers it. Authoritative answers, and the
##! refusals of closed resolvers, are not logged.

@load ./main
@load base/frameworks/notice
@load base/utils/site

module DNSVigil;

export {
	redef enum Notice::Type += {
		## A local host answered a recursive query from outside.
		Open_Resolver,
		## A local host forwarded a query from outside to another host, and an answer came back.
		Open_Forwarder,
	};
}

module DNSVigilOpenResolver;

export {
	redef enum Log::ID += { LOG };

	## Decides which rows of the stream are logged.
	global log_policy: Log::PolicyHook;

	## One row: one open host in one interval. Counts cover this row alone and add up over rows, except for
	## *askers* and *returning_askers*.
	type Info: record {
		## When the row was written.
		ts: time &log;
		## The node that wrote the row, or "standalone".
		node: string &log;
		## The open host.
		host: addr &log;
		## "recursive", or "forwarder" if another host was seen to resolve the query.
		kind: string &log;
		## The last host seen to resolve queries for a forwarder.
		answered_from: addr &log &optional;
		## Distinct outside clients that received an answer: an estimate, within 5 % with 95 % confidence.
		askers: count &log &default=0;
		## Of these, the clients that received an answer in the host's previous row, too: an estimate.
		returning_askers: count &log &default=0;
		## Recursive queries from outside.
		queries: count &log &default=0;
		## Responses to these queries with any response code, except for authoritative ones.
		responses: count &log &default=0;
		## DNS bytes of the queries, without IP and transport headers.
		query_bytes: count &log &default=0;
		## DNS bytes of the responses.
		response_bytes: count &log &default=0;
		## Some of the names that were answered.
		sample_names: vector of string &log &default=vector();
		## The time of the first message of this row.
		time_first: time &log;
		## The time of the last message of this row.
		time_last: time &log;
	};

	## Networks that count as local in addition to :zeek:id:`Site::local_nets`, such as those of
	## customers.
	option networks: set[subnet] = {};

	## The operator's own resolvers that are open on purpose.
	option public_resolvers: set[subnet] = {};

	## How often an open host gets a row. The first row is written at once.
	option log_interval = 5min;

	## The maximum number of open hosts in an interval.
	option max_hosts = 10000;

	## The maximum number of queries from outside that wait for an answer.
	option max_questions = 50000;
}

# The messages of one connection between an outside client and a local host.
type Exchange: record {
	# The host that was queried: the responder or, for a relayed query, the host that relayed it.
	host: addr;
	asked: bool &default=F;
	query: string &optional;
	queries: count &default=0;
	query_bytes: count &default=0;
	# The length of the message whose parts are being read.
	message_bytes: count &default=0;
};

# A query from outside, remembered to recognise the hosts that forward and answer it.
type Question: record {
	host: addr;
	query: string;
	# The station that put it on the wire: the border router's.
	station: string &default="";
	exchange: Exchange;
	# The same client, port and id were used towards several hosts, as scanners do.
	ambiguous: bool &default=F;
	# The host to which the query was forwarded.
	upstream: addr &optional;
};

type Host: record {
	info: Info;
	askers: opaque of cardinality;
};

redef record connection += {
	dnsvigil_outside: Exchange &optional;
};

function new_info(host: addr): Info
	{
	return Info($ts=network_time(), $node=DNSVigil::node, $host=host,
	    $kind="recursive", $time_first=network_time(),
	    $time_last=network_time());
	}

function new_askers(): opaque of cardinality
	{
	return hll_cardinality_init(0.05, 0.95);
	}

# The askers of the previous row of each host.
global previous_askers: table[addr] of opaque of cardinality &create_expire=1hr;

# Compares a row's askers with those of the previous row, and keeps them for the next one.
function returning(host: addr, askers: opaque of cardinality): count
	{
	local both = 0.0;

	if ( host in previous_askers )
		{
		local either = hll_cardinality_copy(previous_askers[host]);
		hll_cardinality_merge_into(either, askers);
		both = hll_cardinality_estimate(previous_askers[host]);
		both += hll_cardinality_estimate(askers);
		both -= hll_cardinality_estimate(either);
		}

	if ( host in previous_askers || |previous_askers| < max_hosts )
		previous_askers[host] = askers;

	return both > 0.5 ? double_to_count(both) : 0;
	}

function write_row(h: Host)
	{
	local info = h$info;

	if ( info$queries + info$responses == 0 )
		return;

	info$ts = network_time();
	info$askers = double_to_count(hll_cardinality_estimate(h$askers));
	info$returning_askers = returning(info$host, h$askers);

	if ( info$returning_askers > info$askers )
		info$returning_askers = info$askers;

	Log::write(LOG, info);
	h$info = new_info(info$host);
	h$info$kind = info$kind;

	if ( info?$answered_from )
		h$info$answered_from = info$answered_from;

	h$askers = new_askers();
	}

function expire_host(t: table[addr] of Host, host: addr): interval
	{
	write_row(t[host]);
	return 0sec;
	}

global hosts: table[addr] of Host &create_expire=log_interval
    &expire_func=expire_host;

# An answer that arrives later does not belong to the query.
const question_time = 5sec;

# By client, its port and id; and by queried host and name.
global by_asker: table[addr, port, count] of Question
    &create_expire=question_time;
global by_name: table[addr, string] of Question &create_expire=question_time;

function inside(a: addr): bool
	{
	return a in Site::local_nets || a in networks;
	}

function watched(a: addr): bool
	{
	return inside(a) && a !in public_resolvers;
	}

function notify(h: Host)
	{
	local info = h$info;
	local host = info$host;

	local notice = Notice::Info($note=DNSVigil::Open_Resolver, $msg=fmt(
	    "%s answers recursive DNS questions from outside", host),
	    $sub=join_string_vec(info$sample_names, " "), $src=host,
	    $identifier=cat(host), $suppress_for=1day);

	if ( info$kind == "forwarder" )
		{
		notice$note = DNSVigil::Open_Forwarder;
		notice$msg = fmt("%s passes DNS questions from outside on to %s", host,
		    info$answered_from);
		}

	NOTICE(notice);
	}

function mark_time(info: Info)
	{
	if ( info$queries + info$responses == 0 )
		info$time_first = network_time();

	info$time_last = network_time();
	}

function add_queries(host: addr, exchange: Exchange)
	{
	if ( host !in hosts )
		return;

	local info = hosts[host]$info;
	mark_time(info);
	info$queries += exchange$queries;
	info$query_bytes += exchange$query_bytes;
	exchange$queries = 0;
	exchange$query_bytes = 0;
	}

function add_sample(info: Info, exchange: Exchange)
	{
	if ( ! exchange?$query || |info$sample_names| == 5 )
		return;

	local name = exchange$query == "" ? "." : exchange$query;

	for ( _, sample in info$sample_names )
		if ( sample == name )
			return;

	info$sample_names += name;
	}

event zeek_init()
	{
	Log::create_stream(LOG, Log::Stream($columns=Info,
	    $path="dnsvigil_open_resolver", $policy=log_policy));
	}

function remember(c: connection, msg: dns_msg, query: string)
	{
	if ( |by_asker| >= max_questions )
		{
		++DNSVigil::dropped_open_resolver;
		return;
		}

	local question = Question($host=c$id$resp_h, $query=query,
	    $exchange=c$dnsvigil_outside);

	if ( c$orig?$l2_addr )
		question$station = c$orig$l2_addr;

	# If it stands for another host by now, it is ambiguous, and has to stay so.
	if ( [c$id$orig_h, c$id$orig_p, msg$id] !in by_asker )
		by_asker[c$id$orig_h, c$id$orig_p, msg$id] = question;

	by_name[c$id$resp_h, query] = question;
	}

function asked(c: connection, msg: dns_msg, query: string)
	{
	local exchange = c$dnsvigil_outside;
	exchange$asked = T;
	exchange$query = query;

	if ( [c$id$orig_h, c$id$orig_p, msg$id] in by_asker )
		{
		local earlier = by_asker[c$id$orig_h, c$id$orig_p, msg$id];

		if ( earlier$host != c$id$resp_h )
			{
			# Either a host forwarded the query under the client's address, or the client sends the same
			# query to several hosts. A forwarded query comes from another station on the wire.
			if ( earlier$query == query
			    && earlier$station != ""
			    && c$orig?$l2_addr
			    && c$orig$l2_addr != earlier$station )
				{
				exchange$host = earlier$host;
				return;
				}

			earlier$ambiguous = T;
			}
		}

	if ( ! watched(c$id$resp_h) )
		return;

	++exchange$queries;
	exchange$query_bytes += exchange$message_bytes;
	add_queries(exchange$host, exchange);
	remember(c, msg, query);
	}

function answered(c: connection, msg: dns_msg, len: count)
	{
	local exchange = c$dnsvigil_outside;
	local sender = c$id$resp_h;
	local questions = exchange;

	if ( [c$id$orig_h, c$id$orig_p, msg$id] in by_asker )
		{
		local question = by_asker[c$id$orig_h, c$id$orig_p, msg$id];

		# An answer from a host that was not queried, unless the client used the same port and id for several hosts.
		if ( ! exchange$asked && question$host != sender && ! question$ambiguous )
			{
			exchange$host = question$host;
			exchange$query = question$query;
			}

		if ( exchange$host == question$host )
			questions = question$exchange;
		}

	local host = exchange$host;

	if ( host == sender && ! watched(host) )
		return;

	local served = msg$RA && ! msg$AA && msg$rcode == 0 && msg$num_answers > 0;
	local first = host !in hosts;

	if ( first )
		{
		if ( ! served )
			return;

		if ( |hosts| >= max_hosts )
			{
			++DNSVigil::dropped_open_resolver;
			return;
			}

		hosts[host] = Host($info=new_info(host), $askers=new_askers());
		}

	if ( msg$AA )
		return;

	local h = hosts[host];
	local info = h$info;
	local recursive = info$kind == "recursive";
	add_queries(host, questions);
	mark_time(info);
	++info$responses;
	info$response_bytes += len;

	if ( ! served )
		return;

	hll_cardinality_add(h$askers, c$id$orig_h);

	add_sample(info, exchange);

	if ( host != sender )
		{
		info$kind = "forwarder";
		info$answered_from = sender;
		}
	else if ( exchange?$query
	    && [host, exchange$query] in by_name
	    && by_name[host, exchange$query]?$upstream )
		{
		info$kind = "forwarder";
		info$answered_from = by_name[host, exchange$query]$upstream;
		}

	if ( first || ( recursive && info$kind == "forwarder" ) )
		{
		notify(h);
		write_row(h);
		}
	}

event dns_message(c: connection, is_orig: bool, msg: dns_msg, len: count)
	{
	if ( ! msg$RD )
		return;

	if ( ! c?$dnsvigil_outside )
		{
		if ( inside(c$id$orig_h) || c$id$resp_p in DNSVigil::ignored_ports )
			return;

		if ( ! watched(c$id$resp_h)
		    && ( |by_asker| == 0 || [c$id$orig_h, c$id$orig_p, msg$id] !in by_asker ) )
			return;

		c$dnsvigil_outside = Exchange($host=c$id$resp_h);
		}

	if ( msg$QR )
		answered(c, msg, len);
	else
		c$dnsvigil_outside$message_bytes = len;
	}

event dns_request(c: connection, msg: dns_msg, query: string, qtype: count,
    qclass: count)
	{
	if ( c?$dnsvigil_outside )
		{
		if ( msg$RD )
			asked(c, msg, query);
		}
	else if ( |by_name| > 0 && msg$RD && [c$id$orig_h, query] in by_name )
		by_name[c$id$orig_h, query]$upstream = c$id$resp_h;
	}

event zeek_done()
	{
	for ( _, h in hosts )
		write_row(h);
	}
