##! Logs how much of the traffic this sensor saw: packets and losses, queries without responses,
##! responses without queries, malformed messages, and the entries that the caps of the other logs
##! refused. A failure ratio is only as good as these figures.

@load ./main

module DNSVigilCapture;

export {
	## The stream of dnsvigil_capture.log.
	redef enum Log::ID += { LOG };

	## Decides which rows of the stream are logged.
	global log_policy: Log::PolicyHook;

	## One row: what one node saw since its last row. All columns but *ts*, *node* and *span* add up over rows and
	## nodes.
	type Info: record {
		## When the row was written.
		ts: time &log;
		## The node that wrote the row, or "standalone".
		node: string &log;
		## The time since the last row. The column is called "interval".
		span: interval &log;
		## Packets that Zeek received.
		packets: count &log;
		## Packets that were lost before Zeek could take them.
		packets_dropped: count &log;
		## Packets on the link, if the packet source reports them; else 0.
		link_packets: count &log;
		## Octets that Zeek received.
		bytes: count &log;
		## Queries in the records of dns.log.
		dns_queries: count &log;
		## Responses in the records of dns.log.
		dns_responses: count &log;
		## Queries in records without a response.
		unmatched_queries: count &log;
		## Responses in records without a query.
		unmatched_responses: count &log;
		## Faults found by Zeek's DNS parser; a message can have several.
		malformed: count &log;
		## Tuples of dnsvigil_pdns.log that were refused, or evicted to make room.
		dropped_pdns: count &log;
		## Entries that the caps of dnsvigil_open_resolver.log refused.
		dropped_open_resolver: count &log;
		## Entries that the caps of dnsvigil_poisoning.log refused.
		dropped_poisoning: count &log;
	};

	## The time between two rows.
	option log_interval = 1min;
}

global dns_queries = 0;
global dns_responses = 0;
global unmatched_queries = 0;
global unmatched_responses = 0;
global malformed = 0;

# The time of the last row, 0 before the first packet, and its totals since the start.
global last_time = double_to_time(0.0);
global last_stats: NetStats;

event zeek_init() &priority=5
	{
	Log::create_stream(LOG, Log::Stream($columns=Info, $path="dnsvigil_capture",
	    $policy=log_policy));
	# A field cannot be called "interval", which is a keyword.
	Log::remove_default_filter(LOG);
	Log::add_filter(LOG, Log::Filter($name="default", $path="dnsvigil_capture",
	    $field_name_map=table(["span"] = "interval")));
	}

function log_row()
	{
	local now = network_time();
	local stats = get_net_stats();
	Log::write(LOG, Info($ts=now, $node=DNSVigil::node, $span=now - last_time,
	    $packets=stats$pkts_recvd - last_stats$pkts_recvd,
	    $packets_dropped=stats$pkts_dropped - last_stats$pkts_dropped,
	    $link_packets=stats$pkts_link - last_stats$pkts_link,
	    $bytes=stats$bytes_recvd - last_stats$bytes_recvd,
	    $dns_queries=dns_queries, $dns_responses=dns_responses,
	    $unmatched_queries=unmatched_queries,
	    $unmatched_responses=unmatched_responses, $malformed=malformed,
	    $dropped_pdns=DNSVigil::dropped_pdns,
	    $dropped_open_resolver=DNSVigil::dropped_open_resolver,
	    $dropped_poisoning=DNSVigil::dropped_poisoning));
	last_time = now;
	last_stats = stats;
	dns_queries = dns_responses = unmatched_queries = unmatched_responses =
	    malformed = 0;
	DNSVigil::dropped_pdns = DNSVigil::dropped_open_resolver =
	    DNSVigil::dropped_poisoning = 0;
	}

event DNSVigilCapture::tick()
	{
	if ( zeek_is_terminating() )
		return;

	log_row();
	schedule log_interval { DNSVigilCapture::tick() };
	}

# The packets' clock stands still until the first packet arrives.
event network_time_init()
	{
	if ( ! DNSVigil::sees_packets )
		return;

	last_time = network_time();
	schedule log_interval { DNSVigilCapture::tick() };
	}

event zeek_done() &priority=-5
	{
	if ( last_time > double_to_time(0.0) )
		log_row();
	}

event DNS::log_dns(rec: DNS::Info)
	{
	if ( rec$id$resp_p in DNSVigil::ignored_ports )
		return;

	if ( rec$saw_query )
		{
		++dns_queries;

		if ( ! rec$saw_reply )
			++unmatched_queries;
		}

	if ( rec$saw_reply )
		{
		++dns_responses;

		if ( ! rec$saw_query )
			++unmatched_responses;
		}
	}

event conn_weird(name: string, c: connection, addl: string)
	{
	if ( DNSVigil::is_malformed(name) )
		++malformed;
	}
