##! Shared by the scripts of dnsvigil: which traffic to ignore, the name of this node, and counts of
##! the entries that the caps refused.

@load base/frameworks/cluster
@load base/protocols/dns

module DNSVigil;

export {
	## Server ports of DNS-like traffic without a resolver: NetBIOS names, multicast DNS and LLMNR. All
	## logs but dns.log leave it out.
	option ignored_ports: set[port] = {
		137/udp,
		5353/udp,
		5355/udp
	};

	## The name of this node, for the column *node* of every log.
	global node = "standalone";

	## Whether this process sees packets: a worker of a cluster, or a standalone Zeek.
	global sees_packets = T;

	## Counts of the entries that the hard caps refused or evicted since the last row of dnsvigil_capture.log.
	global dropped_pdns = 0;
	global dropped_open_resolver = 0;
	global dropped_poisoning = 0;

	## The mnemonic of a record type, or "TYPE" and its number if it has none (RFC 3597).
	global type_names: table[count] of string = table() &default=function(
	    number: count): string
		{
		return fmt("TYPE%d", number);
		};

	## Whether a weird reports a malformed DNS message, rather than an unknown type or operation, or a
	## discouraged key or algorithm.
	global is_malformed: function(weird: string): bool;
}

function is_malformed(weird: string): bool
	{
	return weird == /E?DNS_.*/
	    && weird != /DNS_RR_unknown_type|DNS_unknown_opcode|EDNS_TCP_Keepalive_In_UDP/;
	}

event zeek_init() &priority=20
	{
	for ( number, name in DNS::query_types )
		type_names[number] = name;
	}

event zeek_init() &priority=10
	{
	if ( ! Cluster::is_enabled() )
		return;

	node = Cluster::node;
	sees_packets = Cluster::local_node_type() == Cluster::WORKER;
	}
